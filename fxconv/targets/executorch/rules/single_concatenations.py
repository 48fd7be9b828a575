"""Concatenations of one tensor."""

from __future__ import annotations

import torch
from torch import fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes


def single_concatenations(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A concatenation of one tensor, such as a dense block's first, is that tensor.

    The delegate joins two or more: a portable operator would copy the one in float, and split the delegate.
    """
    for node in nodes.calls(graph_module, {torch.cat}):
        tensors = nodes.given(node)[0]
        if isinstance(tensors, (tuple, list)) and len(tensors) == 1:
            nodes.replace(node, tensors[0])
    return nodes.finished(graph_module)
