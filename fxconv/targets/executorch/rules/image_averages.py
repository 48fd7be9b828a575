"""Averages over the whole image, as the delegate computes them in int8."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_MEANS = frozenset({torch.mean, Tensor.mean})
_ADAPTIVE = frozenset({F.adaptive_avg_pool2d})


def image_averages(graph_module: fx.GraphModule) -> fx.GraphModule:
    """An average over height and width is a mean that keeps its dimensions, and a reshape where they are dropped.

    Dropped by the mean itself they make it a portable operator, which splits the delegate in two. Where both the batch
    and the sizes of images are free it is computed in float, and what it gives is multiplied with 1: of an average in
    int8 the delegate forgets the memory in which it adds up, and writes beyond it when a call of larger images comes
    between two of more (see `least_sizes`).
    """
    for node in nodes.calls(graph_module, _MEANS | _ADAPTIVE | {F.avg_pool2d}):
        known = nodes.sizes(nodes.given(node)[0])
        drops = _drops(graph_module, node, known)
        if drops is None or known is None or (drops and known[1] is None):
            continue
        between = nodes.inner_settings(node)
        with graph_module.graph.inserting_before(node):
            result = nodes.call(node, torch.mean, nodes.given(node)[0], (2, 3), True)
            if between is not None and known[0] is None and None in known[2:]:
                one = nodes.constant(graph_module, node, "one", torch.ones(1))
                result = nodes.call(node, torch.mul, result, one)
            if drops:
                kept = (-1 if known[0] is None else known[0], known[1])
                result = nodes.call(node, torch.reshape, nodes.requantized(node, result, between), kept)
        nodes.replace(node, result)
    return nodes.finished(graph_module)


def _drops(graph_module: fx.GraphModule, node: fx.Node, known: tuple[Any, ...] | None) -> bool | None:
    """Whether an average over the image drops its two dimensions; None where a node is no such average."""
    if known is None or len(known) != 4:
        return None
    if node.target in _ADAPTIVE:
        return False if nodes.pair(nodes.argument(node, 1, "output_size")) == (1, 1) else None
    if node.target is F.avg_pool2d:
        return (
            False
            if (*nodes.given(node)[1:2], *nodes.given(node)[3:]) == (known[2:], (0, 0), False, True, None)
            else None
        )
    along = nodes.argument(node, 1, "dim")
    if not isinstance(along, (tuple, list)) or {dim % 4 for dim in along} != {2, 3} or "dtype" in node.kwargs:
        return None
    keeps = bool(nodes.argument(node, 2, "keepdim", False))
    if keeps and tuple(nodes.given(node)[1:]) == ((2, 3), True):
        return None
    return not keeps
