"""The int8 values of a Q/DQ form, and of a file that was written from one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from fxconv.targets.qdq.writer import VALUE


@dataclass(frozen=True)
class Value:
    """One int8 value of a call of the whole: which node of which graph gives it, in which call of that graph.

    `path` is the graph's, "" where it is the whole; `index` the element of a tuple, 0 where the node gives one tensor.
    """

    path: str
    node: str
    index: int
    call: int


def int8_values(graph: fx.GraphModule) -> list[fx.Node]:
    """The nodes of a Q/DQ graph that give the value of a node of the int8 graph, in order."""
    return [node for node in graph.graph.nodes if VALUE in node.meta]
