"""Sizes that are read of what a convolution computes."""

from __future__ import annotations

from typing import Any

from torch import fx

from fxconv.targets.executorch.edges.values import is_quantize, sizes, word

# They may stand between a convolution and its quantize node, and are one operation with it.
_FUSED = frozenset({"relu", "hardtanh", "clamp"})


def read_sizes(graph_module: fx.GraphModule) -> None:
    """A size that is read of a value on its way to a quantize node is read of what that gives.

    Export reads a size where it first comes up: of the convolution itself, though the model asks its int8 value. The
    delegate takes an int8 convolution that is read by its quantize node alone; one left outside has weights that no
    operator there dequantizes.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        asked = [reader for reader in node.users if word(reader) == "sym_size"]
        way = _way(node) if asked else []
        if not way:
            continue
        for each in reversed(way):  # they read nothing but the one before and numbers
            node.append(each)
        for reader in asked:
            dim: Any = reader.args[1]
            if sizes(way[-1])[dim] == sizes(node)[dim]:
                reader.replace_input_with(node, way[-1])


def _way(node: fx.Node) -> list[fx.Node]:
    """What stands between an operation and its quantize node, with that; [] where it has none, or another reader."""
    if node.op != "call_function":
        return []
    way: list[fx.Node] = []
    while True:
        readers = [reader for reader in node.users if word(reader) != "sym_size"]
        if len(readers) != 1 or len(readers[0].all_input_nodes) != 1:
            return []
        node = readers[0]
        way.append(node)
        if is_quantize(node):
            return way
        if word(node) not in _FUSED:
            return []
