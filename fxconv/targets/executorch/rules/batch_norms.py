"""Batch norms that are int8 operations of their own, as depthwise convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_MOST = 127


def batch_norms(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A batch norm on int8 images is a depthwise convolution of one by one, with a scale for each channel.

    The delegate would compute it in float. Its weights are 127 or -127, so that nothing of them is rounded.
    """
    for node in nodes.calls(graph_module, {F.batch_norm}):
        known = nodes.sizes(node)
        values = [nodes.held(graph_module, value) for value in nodes.given(node)[1:5]]
        reader = next(iter(node.users), None)
        behind = reader if reader is not None and reader.target is F.relu and len(node.users) == 1 else node
        if known is None or len(known) != 4 or not nodes.is_dequantize(nodes.given(node)[0]):
            continue
        mean, variance, weight, bias = values
        if mean is None or variance is None or nodes.quantizer(behind) is None or nodes.argument(node, 5, "training"):
            continue
        factor = (variance.double() + float(nodes.argument(node, 7, "eps", 1e-5))).rsqrt()
        factor = factor if weight is None else factor * weight.double()
        shift = -mean.double() * factor + (0 if bias is None else bias.double())
        # A channel that is constant has weights of 0.
        scales = torch.where(factor == 0, 1.0, factor.abs() / _MOST).float()
        with graph_module.graph.inserting_before(node):
            integers = (factor.sign() * _MOST).to(torch.int8).reshape(-1, 1, 1, 1)
            held = [
                nodes.constant(graph_module, node, name, value)
                for name, value in (
                    ("weight", integers), ("weight_scales", scales),
                    ("weight_zero_points", torch.zeros(len(scales), dtype=torch.int64)), ("bias", shift.float()),
                )
            ]  # fmt: skip
            made = nodes.call(node, nodes.DEQUANTIZE_CHANNELS, *held[:3], 0, -_MOST, _MOST, torch.int8)
            settings = ((1, 1), (0, 0), (1, 1), len(scales))
            result = nodes.call(node, F.conv2d, nodes.given(node)[0], made, held[3], *settings)
        nodes.replace(node, result)
    return nodes.finished(graph_module)
