"""Biases as the float numbers of which the delegate makes the same integers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from fxconv.errors import ConversionError
from fxconv.targets.qdq.rules import qdq_nodes as nodes

_WEIGHTED = frozenset(
    {F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d, F.linear}
)


def float_biases(graph_module: fx.GraphModule) -> fx.GraphModule:
    """An int32 bias behind a dequantize becomes the float bias that rounds to it.

    The partitioner takes a layer whose bias is a constant; one behind a dequantize node stays outside, in float. The
    delegate makes integers of a float bias by the scale of input times weight, in float32: what it would round to
    another integer is moved to the next float that it does not.
    """
    for node in nodes.calls(graph_module, _WEIGHTED):
        bias = nodes.argument(node, 2, "bias")
        if not isinstance(bias, fx.Node) or bias.target not in (nodes.DEQUANTIZE, nodes.DEQUANTIZE_CHANNELS):
            continue
        integers = nodes.held(graph_module, nodes.given(bias)[0])
        scales = _scales(graph_module, node)
        if integers is None or scales is None:
            continue
        with graph_module.graph.inserting_before(node):
            made = nodes.constant(graph_module, node, "bias", _that_round_to(integers, scales, node.name))
        node.replace_input_with(bias, made)
    return nodes.finished(graph_module)


def _scales(graph_module: fx.GraphModule, node: fx.Node) -> Tensor | None:
    """The scales by which the delegate makes integers of a layer's bias."""
    given, weight = nodes.given(node)[0], nodes.given(node)[1]
    if not nodes.is_dequantize(given) or not isinstance(weight, fx.Node):
        return None
    input_scale = float(nodes.given(given)[1])
    if weight.target is nodes.DEQUANTIZE_CHANNELS:
        by_channel = nodes.held(graph_module, nodes.given(weight)[1])
        return None if by_channel is None else by_channel * input_scale
    return torch.tensor(float(nodes.given(weight)[1]) * input_scale)


def _that_round_to(integers: Tensor, scales: Tensor, name: str) -> Tensor:
    values = (integers.double() * scales.double()).float()
    for _ in range(4):
        missed = made_of(values, scales).long() - integers.long()
        if not missed.any():
            return values
        towards = torch.where(missed > 0, -torch.inf, torch.inf)
        values = torch.where(missed != 0, torch.nextafter(values, towards), values)
    raise ConversionError(f"{name}: its bias is too large beside its scales for the delegate to hold it as it is")


def made_of(values: Tensor, scales: Tensor) -> Tensor:
    """The integers that the delegate makes of a float bias."""
    if scales.ndim:
        zeros = torch.zeros(scales.shape, dtype=torch.int64)
        return torch.ops.quantized_decomposed.quantize_per_channel.default(
            values, scales, zeros, 0, -(2**31), 2**31 - 1, torch.int32
        )
    return torch.ops.quantized_decomposed.quantize_per_tensor.default(
        values, float(scales), 0, -(2**31), 2**31 - 1, torch.int32
    )
