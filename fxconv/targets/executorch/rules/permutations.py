"""Permutations whose results lie in memory as their sizes say."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

PERMUTATIONS = frozenset(
    {torch.permute, Tensor.permute, torch.transpose, Tensor.transpose, torch.swapaxes, Tensor.swapaxes, torch.swapdims,
     Tensor.swapdims, torch.movedim, Tensor.movedim, torch.moveaxis, Tensor.moveaxis}
)  # fmt: skip
COPIES = frozenset({Tensor.contiguous, torch.clone, Tensor.clone})


def permutations(graph_module: fx.GraphModule) -> fx.GraphModule:
    """What an int8 permutation gives is copied, as int8 values, into memory that lies as its sizes say.

    Export would copy it where it is reshaped, between the dequantize node and the reshape, which are then in float.
    The delegate's permutations lie so anyway: it takes the copy out.
    """
    for node in nodes.calls(graph_module, PERMUTATIONS | COPIES):
        between = nodes.inner_settings(node)
        if between is None or node.kwargs.get("memory_format") not in (None, torch.contiguous_format):
            continue
        with graph_module.graph.inserting_after(node):
            copy = nodes.call(node, torch.clone)
            copy.kwargs = {"memory_format": torch.contiguous_format}
        if not nodes.calls_any(graph_module, node, PERMUTATIONS):
            copy.args = (nodes.given(node)[0],)
            nodes.replace(node, copy)
            continue
        node.replace_all_uses_with(copy)
        with graph_module.graph.inserting_before(copy):
            copy.args = (nodes.requantized(node, node, between),)
    return nodes.finished(graph_module)
