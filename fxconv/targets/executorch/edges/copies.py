"""Copies of int8 values."""

from __future__ import annotations

from typing import Any

from torch import fx

from fxconv.targets.executorch.edges.values import is_dequantize, is_quantize, word

_COPIES = ("clone", "_clone_dim_order")


def copies(graph_module: fx.GraphModule) -> None:
    """Whatever reads the copy of an int8 value reads the value itself.

    The delegate takes copies out, but in itself alone, once it is settled which values leave it: it refuses one that
    leaves it twice, or that it was given.
    """
    for node in list(graph_module.graph.nodes):
        if not is_quantize(node):
            continue
        copy: Any = node.args[0]
        read: Any = copy.args[0] if word(copy) in _COPIES else None
        if is_dequantize(read) and read.args[1:] == node.args[1:] and _order(read) == _order(copy):
            node.replace_all_uses_with(read.args[0])
    graph_module.graph.eliminate_dead_code()


def _order(node: fx.Node) -> tuple[int, ...]:
    """The dimensions of a node's tensor, from the one that changes last in memory to the one that changes first."""
    order: tuple[int, ...] = node.meta["val"].dim_order()
    return order
