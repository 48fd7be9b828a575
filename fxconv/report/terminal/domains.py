"""What runs in int8 and what in float, on a terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table

from fxconv.config import Mode
from fxconv.report.tables import add, count, grid, percent, some
from fxconv.targets.artifact import BOUNDARIES
from rewrites.domains import Island

if TYPE_CHECKING:
    from fxconv.conversion import Conversion


def int8_words(conversion: Conversion) -> str:
    """The share of int8, and what is in float beside it; in a summary."""
    share = f"{percent(conversion.artifact.int8_macs_share)} of multiply-accumulates"
    if conversion.config.mode is Mode.dynamic:
        return f"{share}; {domains(conversion)}"
    return f"{share}; {count(len(conversion.rewritten.islands), 'float island')}"


def domains(conversion: Conversion) -> str:
    """Where int8 begins and ends."""
    if conversion.config.mode is Mode.dynamic:
        layers = count(len(conversion.audit.operations), "linear or recurrent layer")
        return f"{layers} with int8 weights, ranged at run time; all else stays in float"
    calls, islands = conversion.artifact.calls, conversion.rewritten.islands
    quantize, dequantize = calls.get("aten::quantize_per_tensor", 0), calls.get("aten::dequantize", 0)
    return f"{quantize} quantize, {dequantize} dequantize, {count(len(islands), 'float island')}"


def island_lines(conversion: Conversion, unfolded: bool = False) -> list[str]:
    """The float islands, each with its reason; those of one reason behind the first of them, unless `unfolded`."""
    if conversion.config.mode is Mode.dynamic:
        return []
    islands = conversion.rewritten.islands
    if unfolded:
        return [f"{', '.join(island.nodes)}: {island.reason}" for island in islands]
    alike: dict[frozenset[str], list[Island]] = {}
    for island in islands:
        alike.setdefault(frozenset(island.reason.split("; ")), []).append(island)
    lines = []
    for first, *others in alike.values():
        more = f" (and {count(len(others), 'other island')} like this)" if others else ""
        lines.append(f"{some(first.nodes)}: {first.reason}{more}")
    return lines


def operators_table(conversion: Conversion, most: int | None = None) -> Table:
    """What the traced model called, and what one inference of the written file calls; of each the `most` frequent."""
    table = grid(">calls", "original", ">calls", "artifact", "domain")
    before = Counter(conversion.rewritten.source_calls).most_common()
    artifact = conversion.artifact
    after = sorted(artifact.calls.items(), key=lambda item: -item[1])
    rows = max(len(before), len(after))
    shown = rows if most is None or rows <= most + 1 else most
    for row in range(shown):
        old = (str(before[row][1]), before[row][0]) if row < len(before) else ("", "")
        if row < len(after):
            operator, calls = after[row]
            domain = "int8" if artifact.int8_calls.get(operator) else "float"
            domain = "boundary" if operator in BOUNDARIES else domain
            add(table, *old, str(calls), operator, domain)
        else:
            add(table, *old, "", "", "")
    if shown < rows:
        add(table, *(cell for each in (before, after) for cell in ("", _more(len(each) - shown))), "")
    return table


def _more(left: int) -> str:
    return f"and {left} more" if left > 0 else ""
