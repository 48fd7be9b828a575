"""Convolutions and linear layers: the int8 module's own integers, and biases as its kernels add them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.ao.nn.intrinsic.quantized as nniq
import torch.ao.nn.quantized as nnq
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxconv.errors import ConversionError
from fxconv.targets.qdq.writer import DEQUANTIZE, DEQUANTIZE_CHANNELS, Writer

_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nnq.Conv1d: F.conv1d, nniq.ConvReLU1d: F.conv1d,
    nnq.Conv2d: F.conv2d, nniq.ConvReLU2d: F.conv2d,
    nnq.Conv3d: F.conv3d, nniq.ConvReLU3d: F.conv3d,
}  # fmt: skip
_TRANSPOSED: dict[type[nn.Module], Callable[..., Tensor]] = {
    nnq.ConvTranspose1d: F.conv_transpose1d,
    nnq.ConvTranspose2d: F.conv_transpose2d,
    nnq.ConvTranspose3d: F.conv_transpose3d,
}
_LINEAR = (nnq.Linear, nniq.LinearReLU)
_WITH_RELU = (nniq.ConvReLU1d, nniq.ConvReLU2d, nniq.ConvReLU3d, nniq.LinearReLU)

WEIGHTED: tuple[type[nn.Module], ...] = (*_CONVOLUTIONS, *_TRANSPOSED, *_LINEAR)
# What they are in float.
FLOAT_LAYERS = frozenset({*_CONVOLUTIONS.values(), *_TRANSPOSED.values(), F.linear})

_INT32 = torch.iinfo(torch.int32)


def is_by_channel(weight: Tensor) -> bool:
    """Whether a quantized weight has a scale for each of its channels."""
    return weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)


def bias_scales(weight: Tensor, input_scale: float) -> Tensor:
    """The scale of a bias's integers, one for all channels or one for each."""
    if is_by_channel(weight):
        return weight.q_per_channel_scales() * input_scale
    return torch.tensor(weight.q_scale() * input_scale, dtype=torch.float64)


def bias_integers(bias: Tensor, weight: Tensor, input_scale: float) -> Tensor:
    """The integers that a kernel adds to its sum of products, made of a float bias as the kernels make them."""
    scales = bias_scales(weight, input_scale)
    if scales.ndim:
        zeros = torch.zeros(scales.shape, dtype=torch.int64)
        return torch.quantize_per_channel(bias.detach(), scales, zeros, 0, torch.qint32).int_repr()
    return torch.quantize_per_tensor(bias.detach(), float(scales), 0, torch.qint32).int_repr()


def write_weighted(writer: Writer, module: Any, given: fx.Node) -> fx.Node:
    """The float operation of a convolution or linear layer, on its dequantized weights."""
    kind = type(module)
    weight: Tensor = module.weight().detach()
    operands = (given, written_weight(writer, weight), _bias(writer, module, weight, given))
    if kind in _LINEAR:
        result = writer.call(F.linear, *operands)
    elif module.padding_mode != "zeros":
        raise ConversionError(f"{writer.path} ({kind.__name__}): pads with other than zeros, which has no Q/DQ form")
    elif kind in _TRANSPOSED:
        settings: tuple[Any, ...] = (_ints(module.output_padding), module.groups, _ints(module.dilation))
        result = writer.call(_TRANSPOSED[kind], *operands, _ints(module.stride), _ints(module.padding), *settings)
    else:
        settings = (_ints(module.dilation), module.groups)
        result = writer.call(_CONVOLUTIONS[kind], *operands, _ints(module.stride), _padding(module.padding), *settings)
    return writer.call(F.relu, result) if kind in _WITH_RELU else result


def written_weight(writer: Writer, weight: Tensor) -> fx.Node:
    """The node of a dequantized weight."""
    integers = writer.constant("weight", weight.int_repr().contiguous())
    # symmetric weights leave -128 out
    least = -127 if int(weight.int_repr().min()) >= -127 else -128
    if is_by_channel(weight):
        scales = writer.constant("weight_scales", weight.q_per_channel_scales().float())
        zeros = writer.constant("weight_zero_points", weight.q_per_channel_zero_points().long())
        settings = (scales, zeros, weight.q_per_channel_axis(), least, 127, torch.int8)
        return writer.call(DEQUANTIZE_CHANNELS, integers, *settings)
    scale, zero_point = float(weight.q_scale()), int(weight.q_zero_point())
    return writer.call(DEQUANTIZE, integers, scale, zero_point, least, 127, torch.int8)


def _bias(writer: Writer, module: Any, weight: Tensor, given: fx.Node) -> fx.Node | None:
    bias: Tensor | None = module.bias()
    if bias is None:
        return None
    # What a layer reads is the dequantize of its own.
    input_scale = writer.ranges[given.args[0]].scale  # type: ignore[index]
    integers, scales = bias_integers(bias, weight, input_scale), bias_scales(weight, input_scale)
    if not writer.integer_biases:
        return writer.constant("bias", (integers.double() * scales).float())
    held = writer.constant("bias", integers)
    settings = (_INT32.min, _INT32.max, torch.int32)
    if scales.ndim:
        zeros = writer.constant("bias_zero_points", torch.zeros(scales.shape, dtype=torch.int64))
        return writer.call(
            DEQUANTIZE_CHANNELS, held, writer.constant("bias_scales", scales.float()), zeros, 0, *settings
        )
    return writer.call(DEQUANTIZE, held, float(scales), 0, *settings)


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _padding(values: Any) -> Any:
    return values if isinstance(values, str) else _ints(values)
