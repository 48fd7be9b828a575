"""The files of a conversion side by side, on a terminal, and what in them does not run in int8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from fxconv.report.latency import latency_brief
from fxconv.report.tables import add, count, decibels, grid, percent, size, some

if TYPE_CHECKING:
    from fxconv.conversion import Conversion
    from fxconv.targets.artifact import Outside
    from fxconv.targets.written_file import WrittenFile

# Lines about what runs outside int8 that a summary has room for.
_HOW = {"float": "float, in the delegate", "portable": "portable code, outside it"}


def files_table(conversion: Conversion) -> Table:
    """What each file is, a column each: sizes, how it answers, latency with the kernels named, what is outside int8."""
    files = conversion.files
    table = grid("", *(file.target.suffix for file in files))
    for name, cell in (
        ("bytes", lambda file: f"{size(file.artifact.size)}, {_ratio(file)} of float's"),
        ("answers as float", _agreement),
        ("SQNR to float", _to_float),
        ("SQNR to the int8 module", lambda file: decibels(file.to_int8_db)),
        ("latency, this machine", lambda file: latency_brief(file.latency, file.artifact.kernels)),
        ("multiply-accumulates in int8", lambda file: percent(file.artifact.int8_macs_share)),
        ("outside int8", lambda file: outside_brief(file, conversion)),
        ("golden inputs", lambda file: str(file.golden.cases) if file.golden.cases else "none"),
        ("proven", lambda file: "yes" if file.proven else "no"),
        ("needs", lambda file: file.artifact.needs),
    ):
        add(table, name, *map(cell, files))
    return table


def _ratio(file: WrittenFile) -> str:
    return f"{file.artifact.size / file.artifact.float_bytes:.2f}" if file.artifact.float_bytes else "-"


def _agreement(file: WrittenFile) -> str:
    told = file.fidelity
    if told.same is None:
        return "not measured" if told.problem else f"{told.measure} {told.value:.4f}"
    return f"{told.same} of {told.asked} ({percent(told.agreement)})"


def _to_float(file: WrittenFile) -> str:
    return "-" if file.fidelity.sqnr_db is None else decibels(file.fidelity.sqnr_db)


def outside_brief(file: WrittenFile, conversion: Conversion) -> str:
    """What of a file runs outside int8, in a few words: by its runtime's choice, or by the model's islands."""
    if file.target.is_exact:
        islands = len(conversion.rewritten.islands)
        return count(islands, "float island") if islands else "nothing"
    own = _counted([one for one in file.artifact.outside if not one.in_module])
    of_islands = _counted([one for one in file.artifact.outside if one.in_module])
    return "; ".join(filter(None, (own, of_islands and f"of float islands {of_islands}"))) or "nothing"


def _counted(outside: Sequence[Outside]) -> str:
    calls = {how: sum(one.calls for one in outside if one.how == how) for how in _HOW}
    return ", ".join(f"{number} {how}" for how, number in calls.items() if number)


def outside_words(outside: Sequence[Outside]) -> str:
    """Which operations of a file run outside int8, in a line: those of plain code first, which cost most."""
    words = [_named([one for one in outside if one.in_module is whose]) for whose in (False, True)]
    return "; ".join(filter(None, (words[0], words[1] and f"of float islands: {words[1]}")))


def _named(outside: Sequence[Outside]) -> str:
    names = {how: tuple(one.operator for one in outside if one.how == how) for how in ("portable", "float")}
    return "; ".join(f"{some(operators)} in {_HOW[how]}" for how, operators in names.items() if operators)


def outside_lines(outside: Sequence[Outside]) -> list[str]:
    """Each kind of operation outside int8: how often, in what instead, of which operations, and how many values."""
    return [
        f"{one.operator}: {count(one.calls, 'call')}, {_HOW[one.how]}{', of float islands' if one.in_module else ''}"
        + (f", {one.values:,} values" if one.values else "")
        + (f" ({some(one.where)})" if one.where else "")
        for one in outside
    ]


def operations_words(file: WrittenFile) -> str:
    """How the operations of a file did on its own values."""
    rows = file.operations
    failed = [row for row in rows if row.problem]
    worst = max((row.worst for row in rows), default=0)
    about = f"{count(len(rows), 'int8 operation')} on the file's own values: worst {count(worst, 'step')}"
    differing = sum(row.values * row.off for row in rows)
    values = sum(row.values for row in rows)
    share = f", {percent(differing / values, 4)} of values more than 2" if values else ""
    problem = f"; {count(len(failed), 'operation')} failed: {failed[0].where}: {failed[0].problem}" if failed else ""
    to_int8 = "" if math.isinf(file.to_int8_db) else f"; end to end {decibels(file.to_int8_db)} from the int8 module"
    return f"{about}{share}{problem}{to_int8}"
