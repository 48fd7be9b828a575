"""Average pools over volumes: within each frame, then along time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from fxconv.targets.qdq.rules import qdq_nodes as nodes
from rewrites.values import submodule


def volume_pools(graph_module: fx.GraphModule) -> fx.GraphModule:
    """An average over a volume is one over height and width, then one over depth, both in float.

    ExecuTorch has no kernel for all three: a program that calls one does not load. How many values a window has is the
    product of how many it has in each dimension, with zeros counted and without.
    """
    for node in nodes.calls(graph_module, {F.avg_pool3d, nn.AvgPool3d}):
        given = node.all_input_nodes[0]
        known, result = nodes.sizes(given), nodes.sizes(node)
        kernel, stride, padding, ceil_mode, with_zeros, divisor = _arguments(graph_module, node)
        if known is None or result is None or len(known) != 5 or None in known[1:] or divisor is not None:
            continue
        batch, channels, depth, *sides = (-1 if size is None else size for size in known)
        ends = (ceil_mode, with_zeros, None)
        with graph_module.graph.inserting_before(node):
            frames = nodes.call(node, torch.reshape, given, (batch, channels * depth, *sides))
            means = nodes.call(node, F.avg_pool2d, frames, kernel[1:], stride[1:], padding[1:], *ends)
            rows = nodes.call(node, torch.reshape, means, (batch, channels, depth, result[3] * result[4]))
            along = ((kernel[0], 1), (stride[0], 1), (padding[0], 0))
            over = nodes.call(node, F.avg_pool2d, rows, *along, *ends)
            nodes.replace(node, nodes.call(node, torch.reshape, over, (batch, *result[1:])))
    return nodes.finished(graph_module)


def _arguments(graph_module: fx.GraphModule, node: fx.Node) -> tuple[Any, ...]:
    """Kernel, stride and padding of all three dimensions, and the other arguments of the pool."""
    module: Any = submodule(graph_module, node)
    names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    usual = (None, None, 0, False, True, None)
    values = [
        nodes.argument(node, place, name, default) if module is None else getattr(module, name)
        for place, (name, default) in enumerate(zip(names, usual, strict=True), 1)
    ]
    kernel = _triple(values[0])
    return (kernel, _triple(values[1] or kernel), _triple(values[2]), *values[3:])


def _triple(value: Any) -> tuple[int, int, int]:
    first, second, third = value if isinstance(value, (tuple, list)) else (value, value, value)
    return first, second, third
