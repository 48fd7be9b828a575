"""The summary of a conversion on a terminal: the verdict, and about a dozen lines, the most telling first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from fxconv.measures.fidelity import GRADES
from fxconv.report.accuracy import fidelity_brief, judged, recovered, trained
from fxconv.report.latency import latency_words
from fxconv.report.review import in_parts, norm_rows
from fxconv.report.runtimes import runtime_rows
from fxconv.report.tables import add, count, grid, percent, say, show, size, some
from fxconv.report.terminal.costs import size_words
from fxconv.report.terminal.domains import int8_words
from fxconv.report.terminal.files import files_table, outside_words
from fxconv.report.terminal.preprocessing import preprocessing_words
from fxconv.report.terminal.proof import against_words, audited, function_words, worst_words

if TYPE_CHECKING:
    from fxconv.conversion import Conversion
    from fxconv.targets.written_file import WrittenFile

# The summary of a network that is float by engine names this many islands.
_MOST_ISLANDS = 2
# What the ledger calls the original is the float model to whoever reads the summary.
_FLOAT = {"original": "float", "trained": "what was trained"}
# The mark of a verdict, what it is where a stream cannot encode it, and its colour.
_GOOD, _MIXED, _BAD = ("✓", "ok", "green"), ("!", "!", "yellow"), ("✗", "x", "red")
_GRADES = dict(zip(GRADES, ("green", "yellow", "red"), strict=True))


def print_summary(conversion: Conversion, console: Console) -> None:
    """What came out, whether it holds, what it costs: the verdict, and about a dozen lines."""
    say(console, headline(conversion, console))
    print_rows(summary_rows(conversion), console)
    if len(conversion.files) > 1:
        console.print()
        show(files_table(conversion), console)


def print_rows(rows: Iterable[tuple[str, str]], console: Console) -> None:
    """Lines of a summary, what each is about in front of it."""
    table = grid("", "", header=False)
    for name, words in rows:
        grade, colon, rest = words.partition(":")
        is_graded = name == "fidelity" and grade in _GRADES
        add(table, Text(name, "dim"), Text.assemble((grade, _GRADES[grade]), colon, rest) if is_graded else words)
    show(table, console)


def headline(conversion: Conversion, console: Console) -> Text:
    """The verdict in one line: its mark, the model's name, and what it says."""
    kind = (_GOOD if conversion.converted else _MIXED) if conversion.verified else _BAD
    mark, plain, colour = kind
    try:
        mark.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        mark = plain
    style = f"bold {colour}"
    return Text.assemble((mark, style), " ", (conversion.model.name, "bold"), ": ", (conversion.verdict, style))


def summary_rows(conversion: Conversion) -> list[tuple[str, str]]:
    """The lines of the summary, the most telling first: what each is about, and what it says."""
    artifact, rewritten = conversion.artifact, conversion.rewritten
    edits = sum(len(result.edits) for result in rewritten.results)
    active = sum(bool(result.edits) for result in rewritten.results)
    stages = {row.stage: row for row in conversion.ledger}
    int8, arguments = stages["int8"], ", ".join(conversion.config.model_arg)
    rows = [
        ("fidelity", fidelity_brief(conversion.fidelity, conversion.model.is_random)),
        *judged(conversion.judgement),
        (f"against {_FLOAT.get(int8.against, int8.against)}", against_words(int8)),
        *trained(conversion.training),
        ("int8", int8_words(conversion)),
        *([("in parts", f"{parts}; what is around them stays in float")] if (parts := in_parts(rewritten)) else []),
        *_kept_float(conversion),
        *_frozen(conversion),
        *norm_rows(rewritten),
    ]
    is_one = len(conversion.files) == 1  # of several a table says it
    if is_one and artifact.outside:
        rows.append(("outside int8", outside_words(artifact.outside)))
    if is_one:
        rows.append(("size", size_words(artifact)))
    if is_one and math.isfinite(conversion.latency.int8_ms):
        rows.append(("latency", latency_words(conversion.latency)))
    rows += _other_shapes(conversion)
    rows += [
        ("audit", audited(conversion)),
        *([("arguments", arguments)] if arguments else []),
        ("weights", conversion.model.weights),
        ("calibrated on", conversion.calibration.source),
        ("preprocessing", preprocessing_words(conversion.preprocessing)),
        ("rewritten", f"{edits} edits by {count(active, 'pass', 'passes')}; {function_words(stages['rewritten'])}"),
        *(row for file in conversion.files for row in runtime_rows(file.needs)),
        ("written", " and ".join(str(one.artifact.path) for one in conversion.files if one.artifact.path) or "nothing"),
    ]
    return rows


def detail_rows(conversion: Conversion) -> list[tuple[str, str]]:
    """What else there is to say of a conversion in a line each; --report and the page show it."""
    rows = recovered(conversion.recipe)
    for file in conversion.files:
        of = f" {file.target.suffix}" if len(conversion.files) > 1 else ""
        rows += [(f"lowered{of}", _lowered(file)), (f"golden inputs{of}", golden_words(conversion, file))]
    return [*rows, ("time", f"{conversion.timings['total']:.1f} s")]


def _lowered(file: WrittenFile) -> str:
    """How the forms on the way to a file, and what it is read back, compare with the int8 module."""
    lowered = [row for row in file.ledger if row.against == "int8"]
    exact = all(row.max_abs_diff == 0 for row in lowered)
    how = "bit for bit the int8 module" if exact else worst_words(lowered)
    return f"{', '.join(row.stage for row in lowered)}: {how}"


def golden_words(conversion: Conversion, file: WrittenFile) -> str:
    """What a file can prove itself by."""
    golden, whole = file.golden, file.artifact.size
    if not conversion.config.golden:
        return "none, as asked for (--no-golden)"
    if not golden.cases:
        return f"none: 2 % of so small a file, {golden.room} bytes, hold none"
    taken = f"{size(len(golden.text))}, {percent(len(golden.text) / whole)} of the file"
    return f"{golden.cases} replayed from the file; {taken} (fxconv verify)"


def _kept_float(conversion: Conversion) -> list[tuple[str, str]]:
    """Why a network is float by engine: its first float islands."""
    if conversion.converted:
        return []
    islands = conversion.rewritten.islands[:_MOST_ISLANDS]
    return [("in float", f"{some(island.nodes)}: {island.reason}") for island in islands]


def _frozen(conversion: Conversion) -> list[tuple[str, str]]:
    """What the artifact decides as the example did, because the user allowed it."""
    places = conversion.frozen_branches
    return [("frozen branches", f"as the example took them: {', '.join(places)}")] if places else []


def _other_shapes(conversion: Conversion) -> list[tuple[str, str]]:
    """The other sizes and batches it holds for, where it was tried with any."""
    rows = []
    if conversion.sizes and not any(check.problem for check in conversion.sizes):
        tried = " and ".join("x".join(map(str, check.size)) for check in conversion.sizes)
        rows.append(("other sizes", f"holds at {tried} too"))
    if conversion.batches and not any(check.problem for check in conversion.batches):
        tried = " and ".join(str(check.batch) for check in conversion.batches)
        rows.append(("other batches", f"holds for {tried} too"))
    return rows
