"""Channel and pixel shuffles as reshapes and permutations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_CHANNELS = frozenset({F.channel_shuffle, torch.channel_shuffle, torch.native_channel_shuffle})
_PIXELS = frozenset({F.pixel_shuffle, torch.pixel_shuffle})
_UNPIXELS = frozenset({F.pixel_unshuffle, torch.pixel_unshuffle})


def shuffles(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A shuffle is a reshape, a permutation and a reshape, each of int8 values.

    As one operation it is taken apart by export, and its parts run in float.
    """
    for node in nodes.calls(graph_module, _CHANNELS | _PIXELS | _UNPIXELS):
        known, wanted = nodes.sizes(nodes.given(node)[0]), nodes.sizes(node)
        count: Any = nodes.given(node)[1] if len(nodes.given(node)) > 1 else next(iter(node.kwargs.values()))
        if known is None or wanted is None or len(known) != 4 or None in known[1:]:
            continue
        batch = -1 if known[0] is None else known[0]
        _, channels, height, width = known
        shape: tuple[Any, ...]
        order: tuple[int, ...]
        if node.target in _CHANNELS:
            shape, order = (batch, count, channels // count, height, width), (0, 2, 1, 3, 4)
        elif node.target in _PIXELS:
            shape = (batch, wanted[1], count, count, height, width)
            order = (0, 1, 4, 2, 5, 3)
        else:
            shape = (batch, channels, wanted[2], count, wanted[3], count)
            order = (0, 1, 3, 5, 2, 4)
        between = nodes.inner_settings(node)
        with graph_module.graph.inserting_before(node):
            value = nodes.requantized(node, nodes.call(node, torch.reshape, nodes.given(node)[0], shape), between)
            value = nodes.requantized(node, nodes.call(node, torch.permute, value, order), between)
            value = nodes.call(node, torch.reshape, value, (batch, *wanted[1:]))
        nodes.replace(node, value)
    return nodes.finished(graph_module)
