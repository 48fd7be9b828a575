"""Nearest upsampling by a whole number as copies beside each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_NEAREST = ("nearest", "nearest-exact")
# The delegate concatenates five tensors at most.
_MOST = 5


def nearest_upsampling(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Upsampling an image by two to five to the nearest pixel is a concatenation of copies: of columns, then of rows.

    The delegate has no nearest upsampling: a portable operator would split it. Channels lie last meanwhile, as they do
    in the delegate.
    """
    for node in nodes.calls(graph_module, {F.interpolate}):
        known, wanted = nodes.sizes(nodes.given(node)[0]), nodes.sizes(node)
        if nodes.argument(node, 3, "mode", "nearest") not in _NEAREST or known is None or wanted is None:
            continue
        if len(known) != 4 or None in known[1:] or None in wanted[1:]:
            continue
        _, channels, height, width = known
        rows, columns = wanted[2] // height, wanted[3] // width
        if (rows * height, columns * width) != wanted[2:] or not 1 < max(rows, columns) <= _MOST:
            continue
        batch = -1 if known[0] is None else known[0]
        copies = (
            (columns, (batch, height, width, channels), (batch, height, width * columns, channels)),
            (rows, (batch, height, 1, wanted[3] * channels), (batch, wanted[2], wanted[3], channels)),
        )
        between = nodes.inner_settings(node)
        with graph_module.graph.inserting_before(node):
            value = nodes.requantized(
                node, nodes.call(node, torch.permute, nodes.given(node)[0], (0, 2, 3, 1)), between
            )
            for count, before, after in copies:
                if count == 1:
                    continue
                dim = 3 if before[2] == width else 2
                if dim == 2:
                    value = nodes.requantized(node, nodes.call(node, torch.reshape, value, before), between)
                same = [value, *(nodes.own(value) for _ in range(count - 1))]
                value = nodes.requantized(node, nodes.call(node, torch.cat, same, dim), between)
                value = nodes.requantized(node, nodes.call(node, torch.reshape, value, after), between)
            value = nodes.call(node, torch.permute, value, (0, 3, 1, 2))
        nodes.replace(node, value)
    return nodes.finished(graph_module)
