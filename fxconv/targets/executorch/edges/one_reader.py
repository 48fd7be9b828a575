"""Dequantized images with one reader each."""

from __future__ import annotations

from torch import fx

from fxconv.targets.executorch.edges.values import is_dequantize, rank


def one_reader(graph_module: fx.GraphModule) -> None:
    """Each reader of a dequantized image reads a dequantize node of its own.

    The delegate computes convolutions and pools in channels_last. Where a reader wants the sizes' own order (a
    reshape, an output), its pass puts a copy behind the dequantize node, and gives that to all readers: those that had
    counted on channels_last compute something else, and the pass stops at an output.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if not is_dequantize(node) or rank(node) != 4 or any(isinstance(each, fx.Node) for each in node.args[1:]):
            continue
        for reader in list(node.users)[1:]:
            with graph.inserting_after(node):
                own = graph.call_function(node.target, node.args, node.kwargs)
            own.meta = dict(node.meta)
            reader.replace_input_with(node, own)
