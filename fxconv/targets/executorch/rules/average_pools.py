"""Average pools as depthwise convolutions with weights of one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

# Weights are stored: one byte for each value of a window, of each channel.
_LARGEST_WINDOW = 64


def average_pools(graph_module: fx.GraphModule) -> fx.GraphModule:
    """An int8 average pool is a depthwise convolution: weights of the integer 1, whose scale is 1 over the window.

    The delegate averages in float, and where zeros around the image count, not at all. The convolution adds the same
    integers and rounds once.
    """
    for node in nodes.calls(graph_module, {F.avg_pool2d}):
        known = nodes.sizes(nodes.given(node)[0])
        if known is None or len(known) != 4 or known[1] is None or not nodes.is_int8(node):
            continue
        _, kernel, stride, padding, ceil_mode, with_zeros, divisor = nodes.given(node)
        window = kernel[0] * kernel[1]
        if ceil_mode or window > _LARGEST_WINDOW or (any(padding) and not with_zeros):
            continue
        channels = known[1]
        with graph_module.graph.inserting_before(node):
            ones = torch.ones((channels, 1, *kernel), dtype=torch.int8)
            held = nodes.constant(graph_module, node, "ones", ones)
            scale = 1.0 / float(divisor or window)
            weight = nodes.call(node, nodes.DEQUANTIZE, held, scale, 0, -127, 127, torch.int8)
            result = nodes.call(node, F.conv2d, nodes.given(node)[0], weight, None, stride, padding, (1, 1), channels)
        nodes.replace(node, result)
    return nodes.finished(graph_module)
