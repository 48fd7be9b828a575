"""Changes of shape alone, as reshapes to known sizes."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_RESHAPES = frozenset(
    {torch.flatten, Tensor.flatten, torch.unflatten, Tensor.unflatten, torch.reshape, Tensor.reshape, Tensor.view,
     Tensor.reshape_as, Tensor.view_as, torch.squeeze, Tensor.squeeze, torch.unsqueeze, Tensor.unsqueeze, nn.Flatten}
)  # fmt: skip


def reshapes(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Flatten, view, squeeze, unsqueeze and their like are reshapes to sizes that are numbers, one of them free.

    The delegate reshapes to numbers, of which one may be -1. A size that is computed from the input's, as a batch that
    may be of any size makes it, stays outside of it, and so do squeeze and unsqueeze.
    """
    for node in nodes.calls(graph_module, _RESHAPES):
        wanted = nodes.sizes(node)
        if wanted is None or sum(size is None for size in wanted) > 1:
            continue
        free = tuple(-1 if size is None else size for size in wanted)
        if node.target is torch.reshape and tuple(nodes.given(node)[1:]) == (free,):
            continue
        with graph_module.graph.inserting_before(node):
            result = nodes.call(node, torch.reshape, nodes.given(node)[0], free)
        nodes.replace(node, result)
    return nodes.finished(graph_module)
