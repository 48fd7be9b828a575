"""Constants that lie in memory as their sizes say."""

from __future__ import annotations

from torch import fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes


def contiguous_constants(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Constants become contiguous.

    Weights that lie in channels_last are stored once more for the delegate, which then refuses them as "same constant
    data tensor".
    """
    for node in graph_module.graph.find_nodes(op="get_attr"):
        value = nodes.held(graph_module, node)
        if value is not None and not value.is_contiguous():
            nodes.set_held(graph_module, node, value.detach().contiguous())
    return graph_module
