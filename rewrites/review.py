"""What a pass changed, in the pieces a reviewer reads: hunks with their module, reasons and source lines.

A graph runs from module to module, so that a plain diff of its text has its changes in running order and names none of
the modules. Here a change stands under the module in whose forward the operation was written, in the model's own names.
What a pass changed alike, but for names, has hunks of one `shape`, so that a report may show the first alone.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from rewrites.diff import node_line
from rewrites.records import Edit, Hunk
from rewrites.values import module_scope

# What may be the name of a node, or the path of a module: words with dots between.
_NAMES = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
# Integers that are no part of a name or a float.
_NUMBERS = re.compile(r"(?<![\w.#])\d+(?![\w.])")
_Shown = tuple[str, "Line"]
# Unchanged lines shown before and behind a change.
_CONTEXT = 1


@dataclass(frozen=True)
class Line:
    """One node of a graph as text: its name, the module it was written in, and the file and line of that."""

    text: str
    node: str
    module: str
    source: str


def lines_of(graph_module: fx.GraphModule) -> list[Line]:
    """The whole graph, a line a node."""
    nodes = graph_module.graph.nodes
    return [
        Line(node_line(graph_module, node), node.name, module_scope(node), str(node.meta.get("source", "")))
        for node in nodes
    ]


def names_of(graph_module: fx.GraphModule) -> set[str]:
    """All names that stand for a node, a module or a parameter in the text of a graph."""
    names = {node.name for node in graph_module.graph.nodes}
    names |= {str(node.target) for node in graph_module.graph.nodes if node.op in ("call_module", "get_attr")}
    return names


def hunks(
    before: Sequence[Line],
    after: Sequence[Line],
    edits: Iterable[Edit],
    names: set[str],
    classes: Mapping[str, type] | None = None,
) -> tuple[Hunk, ...]:
    """What differs between two texts of a graph, module by module, in running order.

    `names` are those of the nodes and modules of both; `classes` those of the model's modules by path. The reasons are
    those of the edits of the nodes that a hunk shows; one that only reads what was edited elsewhere has none.
    """
    reasons: dict[str, list[str]] = {}
    for edit in edits:
        reasons.setdefault(edit.node, []).append(edit.reason)
    places: dict[str, list[Hunk]] = {}
    stays = {line.node for line in before} & {line.node for line in after}
    for module, shown in _changes(before, after):
        changed = [line for sign, line in shown if sign != " "]
        told = [reason for line in changed for reason in reasons.get(line.node, ())]
        first = {line.node: index for index, (sign, line) in reversed(list(enumerate(shown))) if sign != " "}
        sources = [line.source if first.get(line.node) == index else "" for index, (_, line) in enumerate(shown)]
        lines, told = [f"{sign}{line.text}" for sign, line in shown], list(dict.fromkeys(told))
        shape = _shape([line for line in lines if line[0] != " "], [*filter(None, sources), *told], names)
        numbered = [(index, line.node) for index, (sign, line) in enumerate(shown) if sign != " "]
        echoes = tuple(index for index, node in numbered if node in stays and node not in reasons)
        kind = (classes or {}).get(module)
        hunk = Hunk(module, kind.__name__ if kind else "", tuple(told), tuple(lines), tuple(sources), echoes, shape)
        places.setdefault(module, []).append(hunk)
    return tuple(hunk for found in places.values() for hunk in found)


def _changes(before: Sequence[Line], after: Sequence[Line]) -> Iterator[tuple[str, list[_Shown]]]:
    """The changes in running order, those of one module at a time: its path, and the lines that show them."""
    matcher = difflib.SequenceMatcher(None, [line.text for line in before], [line.text for line in after], False)
    for kind, first, last, start, end in matcher.get_opcodes():
        if kind == "equal":
            continue
        removed, added = before[first:last], after[start:end]
        above, below = before[max(0, first - _CONTEXT) : first], before[last : last + _CONTEXT]
        modules = list(dict.fromkeys(line.module for line in (*removed, *added)))
        for index, module in enumerate(modules):
            shown = [("-", line) for line in removed if line.module == module]
            shown += [("+", line) for line in added if line.module == module]
            shown = [*((" ", line) for line in above if not index), *shown]
            yield module, [*shown, *((" ", line) for line in below if index == len(modules) - 1)]


def _shape(lines: Sequence[str], words: Sequence[str], names: set[str]) -> str:
    """Lines, and words said of them, with placeholders for names and for integers that stand on both sides.

    An integer that is not changed is no part of a change: a block with 6 heads is rewritten as one with 3 is.
    """
    known: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        name, rest = match[0].removeprefix("self."), ""
        while name not in names:  # `add.view` is a method of `add`
            name, _, last = name.rpartition(".")
            if not name:
                return match[0]
            rest = f".{last}{rest}"
        return known.setdefault(name, f"#{len(known)}") + rest

    counts = {sign: Counter(n for line in lines if line[:1] == sign for n in _NUMBERS.findall(line)) for sign in "+-"}
    kept = {number for number, times in counts["-"].items() if counts["+"][number] == times}

    def blurred(match: re.Match[str]) -> str:
        return "#" if match[0] in kept else match[0]

    said = [_NAMES.sub(lambda name: "#" if name[0] in names else name[0], text) for text in words]
    return "\n".join([*said, *(_NUMBERS.sub(blurred, _NAMES.sub(numbered, line)) for line in lines)])
