"""What a file is and what is in it, on a terminal and as JSON.

Whatever comes from the file is escaped before it is printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from fxconv.inspection.found import ExtraFile, Inspection, Kind, Operator
from fxconv.inspection.printable import printable
from fxconv.report.runtimes import fit_json
from fxconv.report.tables import add, count, grid, percent, say, section, show, size
from fxconv.targets.libraries import Fit

SCHEMA = 1
# What the terminal shows; the JSON has all of it.
_MOST_PARTS, _MOST_TENSORS, _MOST_OPERATORS, _MOST_LINES, _MOST_EXTRAS = 16, 8, 200, 12, 40
_MOST_DELEGATES = 20
# Texts of the file are folded, and not cut, unless nobody would read them.
_LONGEST = 4000
_REST = "--json FILE has them all"


def _printable(text: str) -> str:
    return printable(text, _LONGEST)


def inspection_json(found: Inspection, fits: Sequence[Fit] = ()) -> dict[str, Any]:
    """All of it as plain values, schema 1; texts are the file's own, and escaped by JSON.

    `runtimes` are the releases for phones that were asked about, or all that there are.
    """
    report = {"schema": SCHEMA, **asdict(found), "path": str(found.path), "kind": found.kind.value}
    report["facts"] = dict(found.facts)
    report["storages"] = dict(found.storages)
    report["runtimes"] = [fit_json(fit) for fit in fits]
    return report


def inspection_text(found: Inspection, fits: Sequence[Fit] = ()) -> str:
    """`inspection_json` as indented text."""
    return json.dumps(inspection_json(found, fits), indent=2, allow_nan=False) + "\n"


def print_inspection(found: Inspection, console: Console) -> None:
    """All but the operators, which may take a while to find."""
    version = "" if found.bytecode_version is None else f", bytecode version {found.bytecode_version:,}"
    title = f"{_printable(str(found.path))}: {found.kind.value}, {size(found.bytes)}{version}"
    say(console, title, "bold")
    for problem in found.problems:
        say(console, Text.assemble(("problem: ", "bold red"), _printable(problem)))
    if found.facts:
        table = grid("", "", header=False)
        for name, value in found.facts:
            add(table, name, _printable(value))
        show(table, console)
    _print_loaders(found, console)
    _print_parts(found, console)
    _print_delegates(found, console)
    _print_tensors(found, console)
    _print_extras(found.extras, console)


def _print_loaders(found: Inspection, console: Console) -> None:
    if not found.loaders:
        return
    section(console, "What loads it")
    table = grid("", "", "", header=False)
    for one in found.loaders:
        mark = Text("no ", style="red") if one.problem else Text("yes", style="green")
        add(table, mark, one.call, f"{one.where}: {one.problem}" if one.problem else one.where)
    show(table, console)


def _print_parts(found: Inspection, console: Console) -> None:
    section(console, "Sizes")
    table = grid("part", ">bytes", ">share", ">records")
    for part in found.parts[:_MOST_PARTS]:
        add(
            table, _printable(part.name), f"{part.bytes:,}", percent(part.bytes / found.bytes), f"{part.records or '':}"
        )
    if left := found.parts[_MOST_PARTS:]:
        rest = sum(part.bytes for part in left)
        add(table, f"{len(left):,} more", f"{rest:,}", percent(rest / found.bytes), "")
    add(table, "all", f"{found.bytes:,}", percent(1.0), "")
    show(table, console)


def _print_delegates(found: Inspection, console: Console) -> None:
    """What is handed to backends: for each type of numbers the operators that work in it."""
    if not found.delegates:
        return
    section(console, f"Delegates: {len(found.delegates):,}")
    table = grid("method", "backend", ">bytes", "type", "operators")
    for one in found.delegates[:_MOST_DELEGATES]:
        cells = [_printable(one.method), _printable(one.backend), f"{one.bytes:,}"]
        types = list(dict.fromkeys(row.dtype for row in one.operators))
        if not types:
            add(table, *cells, "", one.what or "not known here")
        for dtype in types:
            rows = [f"{row.name} {row.calls}" for row in one.operators if row.dtype == dtype]
            add(table, *cells, _printable(dtype), _printable(", ".join(rows)))
            cells = ["", "", ""]
    show(table, console)
    _print_more(len(found.delegates) - _MOST_DELEGATES, console)


def _print_tensors(found: Inspection, console: Console) -> None:
    if not found.tensors:
        return
    values = sum(tensor.values for tensor in found.tensors)
    section(console, f"Tensors: {len(found.tensors):,} with {values:,} values")
    if found.storages:
        types = ", ".join(f"{_printable(name)} {number:,} bytes" for name, number in found.storages)
        say(console, types)
    table = grid("largest", "type", "shape", ">bytes")
    for tensor in found.tensors[:_MOST_TENSORS]:
        shape = "x".join(str(side) for side in tensor.shape) or "one value"
        add(table, _printable(tensor.name), _printable(tensor.dtype), _printable(shape), f"{tensor.bytes:,}")
    show(table, console)
    _print_more(len(found.tensors) - _MOST_TENSORS, console)


def _print_extras(extras: tuple[ExtraFile, ...], console: Console) -> None:
    if not extras:
        return
    section(console, f"Metadata: {count(len(extras), 'file')}")
    # what it says of itself before anything else
    for extra in sorted(extras, key=lambda extra: extra.name != "fxconv.json")[:_MOST_EXTRAS]:
        lines = list(_summary(extra.text))
        what = f"{extra.bytes:,} bytes" if lines else f"{extra.bytes:,} bytes, binary or long"
        say(console, Text.assemble((_printable(extra.name), "bold"), f" ({what})"))
        for line in lines:
            say(console, f"    {line}")
    _print_more(len(extras) - _MOST_EXTRAS, console)


def _summary(text: str | None) -> Iterable[str]:
    """The first lines of a text; of JSON its keys, each with what it holds."""
    if not text:
        return
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        lines = [f"{key}: {value if isinstance(value, str) else _short_json(value)}" for key, value in content.items()]
    else:
        lines = text.splitlines()
    yield from (_printable(line) for line in lines[:_MOST_LINES])
    if len(lines) > _MOST_LINES:
        yield f"and {len(lines) - _MOST_LINES:,} more lines"


def _short_json(value: Any) -> str:
    try:
        if isinstance(value, list) and len(value) > 8:
            return f"{json.dumps(value[:4])[:-1]}, ... {len(value):,} in all]"
        return json.dumps(value)
    except RecursionError:  # it was read at the last level that Python allows
        return "nested too deeply to show"


def print_operators(found: Inspection, console: Console) -> None:
    """The operators, by name, with their schemas where somebody looked for them."""
    if not found.operators:
        return
    section(console, f"Operators: {len(found.operators):,}")
    if found.kind is Kind.TORCHSCRIPT:
        say(console, "as its code names them; which overload is meant is decided when it is loaded")
    asked = any(one.schema is not None for one in found.operators)
    passed = any(one.arguments is not None for one in found.operators)
    table = grid(
        "operator", ">calls", *([">arguments"] if passed else []), *(["schema in this torch"] if asked else [])
    )
    for one in found.operators[:_MOST_OPERATORS]:
        cells = [_printable(one.full_name), str(one.calls)]
        cells += ["-" if one.arguments is None else str(one.arguments)] if passed else []
        add(table, *cells, *([_schema(one)] if asked else []))
    show(table, console)
    _print_more(len(found.operators) - _MOST_OPERATORS, console)


def _schema(one: Operator) -> str | Text:
    if not one.schema:
        return Text("unknown to it", style="red")
    return _printable(one.schema.removeprefix(one.full_name))


def _print_more(left: int, console: Console) -> None:
    if left > 0:
        say(console, f"and {left:,} more; {_REST}")
