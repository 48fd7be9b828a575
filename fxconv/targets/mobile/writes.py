"""What a program still writes in place into memory that something else of it reads.

Of such a program optimize_for_mobile makes one that computes something else, in stock torch as well
(pytorch/pytorch#81651): the operators that `insert-fold-prepack-ops` puts in the place of float convolutions say
nothing of the memory they read, and come to stand on the other side of the write.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

# So much of a line of the program is shown.
_WIDTH = 80


def writes_in_place(scripted: Any) -> tuple[str, ...]:
    """The operators that write into a value that others read or see a part of, each with its line of the program."""
    if not hasattr(scripted, "inlined_graph"):
        return ()
    graph = scripted.inlined_graph  # its nodes do not outlive it
    found = (f"{node.kind()} (`{line}`)" if (line := _line(node)) else node.kind() for node in _seen_writes(graph))
    return tuple(dict.fromkeys(found))


def told(writes: tuple[str, ...]) -> str:
    """One sentence for the user."""
    return (
        f"the program writes in place: {', '.join(writes)}; the mobile pass insert-fold-prepack-ops is left out, "
        "because it moves float convolutions across such a write"
    )


def _seen_writes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        for inner in node.blocks():
            yield from _seen_writes(inner)
        if any(_is_seen(value) for value in _written(node)):
            yield node


def _written(node: Any) -> list[Any]:
    """The tensors that an operator writes into."""
    if (schema := _schema(node)) is None:
        return []
    pairs = zip(schema.arguments, node.inputs(), strict=False)
    return [
        value
        for argument, value in pairs
        if argument.alias_info is not None and argument.alias_info.is_write and value.type().kind() == "TensorType"
    ]


def _is_seen(value: Any) -> bool:
    """Whether others than the operator that changes it read a value, or it lies in another's memory."""
    if len(value.uses()) > 1:
        return True
    schema = _schema(value.node())
    if schema is None:
        return value.node().kind() != "prim::Param"
    return any(result.alias_info is not None and not result.alias_info.is_write for result in schema.returns)


def _schema(node: Any) -> Any:
    text = node.schema()
    return torch._C.parse_schema(text) if text != "(no schema)" else None


def _line(node: Any) -> str:
    """The line of the program that a node was made of, as far as that is known."""
    lines = node.sourceRange().splitlines()
    mark = next((at for at, line in enumerate(lines) if "<--- HERE" in line), 0)
    line = lines[mark - 1][lines[mark].find("~") :].partition(";")[0].strip() if mark else ""
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}…"
