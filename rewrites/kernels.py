"""The kernel table: what the qnnpack engine computes, refuses, or gets wrong, alike in torch 2.12, 2.13 and 2.14.

`rewrites.engine_releases` has what one of them computes otherwise.

One row an operation, keyed by class or callable. A test runs every row on the real engine, in both
memory layouts, against the dequantized reference, so the table cannot drift from the engine. What a kernel refuses
although it takes others of its kind is in `rewrites.kernel_limits`, modules that show a row in
`rewrites.kernel_examples`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites import frames, functions
from rewrites import kernel_limits as limits
from rewrites import modules as m
from rewrites.kernel_examples import (
    Call,
    OfList,
    ShapedAlike,
    Sized,
    Stacked,
    einsum,
    index_put,
    interpolating,
    masked_fill,
    slice_scatter,
    weighing,
    where,
)


class Verdict(Enum):
    """What the engine does with an operation on quantized tensors."""

    INT8 = "int8"  # computes it, with an output range of its own
    FOLLOWS = "follows"  # works on quantized and float tensors alike; the range is that of the input
    FLOAT = "float"  # has no kernel, or one that cannot be shipped
    WRONG = "wrong"  # computes something else
    COARSE = "coarse"  # computes it, but too little is left of what it is given when that is in int8


@dataclass(frozen=True)
class Kernel:
    """One row: the operation, the verdict with its reason, and a module that shows it.

    `example()` takes `inputs` float tensors of shape `shape`. `limits(module)` says why one particular
    module is refused although its class is not, `call_limits(node)` why one particular call is; None when it is not.
    `emulated` says of an int8 kernel that it dequantizes, computes in float and quantizes: next to a float operation it
    saves nothing.
    """

    key: Callable[..., Any]
    verdict: Verdict
    example: Callable[[], nn.Module]
    reason: str = ""
    inputs: int = 1
    shape: tuple[int, ...] = (2, 8, 12, 12)
    emulated: bool = False
    limits: Callable[[nn.Module], str | None] = lambda module: None
    call_limits: Callable[[fx.Node], str | None] = lambda node: None

    @property
    def name(self) -> str:
        """The operation as a person writes it: `nn.Conv2d`, `torch.flatten`, `Tensor.view`."""
        word = getattr(self.key, "__name__", str(self.key))
        if isinstance(self.key, type):
            return f"nn.{word}" if self.key.__module__.startswith("torch.nn") else word
        if getattr(Tensor, word, None) is self.key:
            return f"Tensor.{word}"
        if getattr(F, word, None) is self.key:
            return f"F.{word}"
        return f"torch.{word}" if getattr(torch, word, None) is self.key else f"operator.{word}"


_CLAMP_BUG = (
    "the quantized clamp ignores channels_last, the layout qnnpack convolutions hand on, "
    "and returns scrambled values of the right shape and range"
)
_NO_CONV3D = "qnnpack cannot unpack the packed weights of a 3-D convolution, so the model cannot be saved"
_NO_KERNEL = "the engine has no quantized kernel for it"
_PRELU_BUG = (
    "the quantized PReLU overflows where a weight lies more than some thirty steps from its zero point, "
    "and returns wrong values for negative inputs"
)
_NO_PAD3D = "the engine pads no quantized video in channels_last_3d, the layout convolutions on its frames hand on"
_QUIET_TOKENS = (
    "it brings every token to the same power, and with it the error of tokens that had a step or two of the range all "
    "share"
)
_NOT_PACKED = "the engine packs the weights of layers; a weight that is a value like its input has no quantized kernel"
_FIRST_RANGE = "it forces all tensors into the range of the first, which cuts off what lies outside"
_OWN_STEPS = "it copies the steps of what is written, which stand for other values in the range they come into"
_CUT_OFF = "a value outside of the range is cut off"

_ROWS: tuple[Kernel, ...] = (
    # layers with weights
    Kernel(nn.Conv1d, Verdict.INT8, lambda: nn.Conv1d(8, 6, 3), shape=(2, 8, 12), limits=limits.zeros_padding),
    Kernel(nn.Conv2d, Verdict.INT8, lambda: nn.Conv2d(8, 6, 3, padding=1), limits=limits.zeros_padding),
    Kernel(nn.Conv3d, Verdict.FLOAT, lambda: nn.Conv3d(8, 6, 3), _NO_CONV3D, shape=(1, 8, 4, 6, 6)),
    Kernel(
        nn.ConvTranspose2d, Verdict.INT8, lambda: nn.ConvTranspose2d(8, 6, 4, 2, 1),
        "with per-tensor weights, which is what its kernel demands", call_limits=limits.called_alone,
    ),
    Kernel(
        nn.ConvTranspose1d, Verdict.INT8, lambda: nn.ConvTranspose1d(8, 6, 4, 2, 1),
        "with per-tensor weights, which is what its kernel demands", shape=(2, 8, 12), call_limits=limits.called_alone,
    ),
    Kernel(
        nn.ConvTranspose3d, Verdict.FLOAT, lambda: nn.ConvTranspose3d(8, 6, 4, 2, 1), _NO_CONV3D,
        shape=(1, 8, 4, 6, 6),
    ),
    Kernel(nn.Linear, Verdict.INT8, lambda: nn.Linear(12, 7)),
    Kernel(
        m.LinearRows, Verdict.INT8, lambda: m.LinearRows(nn.Linear(12, 21).weight, nn.Linear(1, 21).bias, 7, 14),
    ),
    Kernel(torch.conv1d, Verdict.FLOAT, weighing(torch.conv1d, 6, 8, 3), _NOT_PACKED, shape=(2, 8, 12)),
    Kernel(torch.conv2d, Verdict.FLOAT, weighing(torch.conv2d, 6, 8, 3, 3), _NOT_PACKED),
    Kernel(torch.conv3d, Verdict.FLOAT, weighing(torch.conv3d, 6, 8, 3, 3, 3), _NOT_PACKED, shape=(1, 8, 4, 6, 6)),
    Kernel(
        torch.conv_transpose1d, Verdict.FLOAT, weighing(torch.conv_transpose1d, 8, 6, 4), _NOT_PACKED, shape=(2, 8, 12),
    ),
    Kernel(torch.conv_transpose2d, Verdict.FLOAT, weighing(torch.conv_transpose2d, 8, 6, 4, 4), _NOT_PACKED),
    Kernel(
        torch.conv_transpose3d, Verdict.FLOAT, weighing(torch.conv_transpose3d, 8, 6, 3, 3, 3), _NOT_PACKED,
        shape=(1, 8, 4, 6, 6),
    ),
    Kernel(F.linear, Verdict.FLOAT, weighing(F.linear, 7, 12), _NOT_PACKED),
    Kernel(nn.BatchNorm2d, Verdict.INT8, lambda: nn.BatchNorm2d(8), limits=limits.statistics),
    Kernel(nn.InstanceNorm2d, Verdict.INT8, lambda: nn.InstanceNorm2d(8), limits=limits.own_statistics),
    Kernel(nn.BatchNorm1d, Verdict.FLOAT, lambda: nn.BatchNorm1d(8), _NO_KERNEL, shape=(2, 8, 12)),
    Kernel(nn.LayerNorm, Verdict.COARSE, lambda: nn.LayerNorm(12), _QUIET_TOKENS),
    Kernel(nn.GroupNorm, Verdict.INT8, lambda: nn.GroupNorm(2, 8)),
    # activations
    Kernel(nn.ReLU, Verdict.FOLLOWS, nn.ReLU),
    Kernel(m.CappedReLU, Verdict.WRONG, m.CappedReLU, "not fused, it would be a clamp, and " + _CLAMP_BUG),
    Kernel(nn.ReLU6, Verdict.WRONG, nn.ReLU6, _CLAMP_BUG),
    Kernel(nn.Hardtanh, Verdict.WRONG, lambda: nn.Hardtanh(-0.5, 0.5), _CLAMP_BUG),
    Kernel(torch.clamp, Verdict.WRONG, lambda: Call(torch.clamp, -0.5, 0.5), _CLAMP_BUG),
    Kernel(Tensor.clamp, Verdict.WRONG, lambda: Call(Tensor.clamp, -0.5, 0.5), _CLAMP_BUG),
    Kernel(nn.Hardswish, Verdict.INT8, nn.Hardswish),
    Kernel(nn.Hardsigmoid, Verdict.INT8, nn.Hardsigmoid),
    Kernel(nn.Sigmoid, Verdict.INT8, nn.Sigmoid),
    Kernel(nn.Tanh, Verdict.INT8, nn.Tanh),
    Kernel(nn.LeakyReLU, Verdict.INT8, nn.LeakyReLU),
    Kernel(nn.ELU, Verdict.INT8, nn.ELU),
    Kernel(nn.PReLU, Verdict.WRONG, lambda: nn.PReLU(8), _PRELU_BUG),
    Kernel(nn.GELU, Verdict.FOLLOWS, nn.GELU),
    Kernel(
        nn.Softmax, Verdict.FLOAT, lambda: nn.Softmax(-1),
        "the plain operator has no quantized kernel; the one that eager quantization leaves out has 256 steps from 0 "
        "to 1, in which the weights of a long sequence vanish",
    ),
    Kernel(F.normalize, Verdict.FLOAT, lambda: Call(F.normalize), _NO_KERNEL),
    Kernel(nn.LogSoftmax, Verdict.FLOAT, lambda: nn.LogSoftmax(-1), _NO_KERNEL),
    Kernel(nn.SELU, Verdict.FLOAT, nn.SELU, _NO_KERNEL),
    Kernel(nn.CELU, Verdict.FLOAT, nn.CELU, _NO_KERNEL),
    Kernel(nn.SiLU, Verdict.FLOAT, nn.SiLU, _NO_KERNEL),
    Kernel(nn.Mish, Verdict.FLOAT, nn.Mish, _NO_KERNEL),
    Kernel(nn.Softplus, Verdict.FLOAT, nn.Softplus, _NO_KERNEL),
    # pools and shapes
    Kernel(nn.MaxPool1d, Verdict.FOLLOWS, lambda: nn.MaxPool1d(2), shape=(2, 8, 12), limits=limits.undilated),
    Kernel(nn.MaxPool2d, Verdict.FOLLOWS, lambda: nn.MaxPool2d(3, 2, 1), limits=limits.undilated),
    Kernel(nn.MaxPool3d, Verdict.FLOAT, lambda: nn.MaxPool3d(2), _NO_KERNEL, shape=(1, 8, 4, 6, 6)),
    Kernel(nn.AvgPool1d, Verdict.FOLLOWS, lambda: nn.AvgPool1d(2), shape=(2, 8, 12), limits=limits.plain_average),
    Kernel(nn.AvgPool2d, Verdict.FOLLOWS, lambda: nn.AvgPool2d(2), limits=limits.plain_average),
    Kernel(
        nn.AvgPool3d, Verdict.FOLLOWS, lambda: nn.AvgPool3d((2, 3, 3), 1, (1, 0, 1), count_include_pad=False),
        shape=(2, 8, 4, 6, 5), limits=limits.divides_by_its_size,
    ),
    Kernel(nn.AdaptiveAvgPool3d, Verdict.FOLLOWS, lambda: nn.AdaptiveAvgPool3d((2, 1, 3)), shape=(2, 8, 4, 6, 5)),
    Kernel(nn.AdaptiveAvgPool1d, Verdict.FOLLOWS, lambda: nn.AdaptiveAvgPool1d(1), shape=(2, 8, 12)),
    Kernel(nn.AdaptiveAvgPool2d, Verdict.FOLLOWS, lambda: nn.AdaptiveAvgPool2d(1)),
    Kernel(nn.AdaptiveMaxPool2d, Verdict.FLOAT, lambda: nn.AdaptiveMaxPool2d(1), _NO_KERNEL),
    Kernel(F.adaptive_avg_pool2d, Verdict.FOLLOWS, lambda: Call(F.adaptive_avg_pool2d, (1, 1))),
    Kernel(torch.mean, Verdict.FOLLOWS, lambda: Call(torch.mean, (2, 3), True)),
    Kernel(Tensor.mean, Verdict.FOLLOWS, lambda: Call(Tensor.mean, (2, 3))),
    Kernel(torch.sum, Verdict.FLOAT, lambda: Call(torch.sum, (2, 3)), _NO_KERNEL),
    Kernel(Tensor.sum, Verdict.FLOAT, lambda: Call(Tensor.sum, (2, 3)), _NO_KERNEL),
    Kernel(torch.amax, Verdict.FLOAT, lambda: Call(torch.amax, (2, 3)), _NO_KERNEL),
    Kernel(Tensor.amax, Verdict.FLOAT, lambda: Call(Tensor.amax, (2, 3)), _NO_KERNEL),
    Kernel(torch.amin, Verdict.FLOAT, lambda: Call(torch.amin, (2, 3)), _NO_KERNEL),
    Kernel(Tensor.amin, Verdict.FLOAT, lambda: Call(Tensor.amin, (2, 3)), _NO_KERNEL),
    Kernel(torch.cumsum, Verdict.FLOAT, lambda: Call(torch.cumsum, 1), _NO_KERNEL),
    Kernel(Tensor.cumsum, Verdict.FLOAT, lambda: Call(Tensor.cumsum, 1), _NO_KERNEL),
    Kernel(torch.maximum, Verdict.FLOAT, lambda: Call(torch.maximum), _NO_KERNEL, inputs=2),
    Kernel(torch.minimum, Verdict.FLOAT, lambda: Call(torch.minimum), _NO_KERNEL, inputs=2),
    Kernel(torch.slice_scatter, Verdict.WRONG, lambda: Call(slice_scatter), _OWN_STEPS, inputs=2),
    Kernel(Tensor.masked_fill, Verdict.WRONG, lambda: Call(masked_fill), _CUT_OFF),
    Kernel(torch.ops.aten.index_put, Verdict.FLOAT, lambda: Call(index_put), _NO_KERNEL, inputs=2),
    Kernel(torch.where, Verdict.FLOAT, lambda: Call(where), _NO_KERNEL, inputs=2),
    Kernel(torch.einsum, Verdict.FLOAT, lambda: Call(einsum), _NO_KERNEL, inputs=2),
    Kernel(torch.abs, Verdict.FLOAT, lambda: Call(torch.abs), _NO_KERNEL),
    Kernel(Tensor.abs, Verdict.FLOAT, lambda: Call(Tensor.abs), _NO_KERNEL),
    Kernel(torch.neg, Verdict.FLOAT, lambda: Call(torch.neg), _NO_KERNEL),
    Kernel(operator.neg, Verdict.FLOAT, lambda: Call(operator.neg), _NO_KERNEL),
    Kernel(torch.exp, Verdict.FLOAT, lambda: Call(torch.exp), _NO_KERNEL),
    Kernel(torch.sqrt, Verdict.FLOAT, lambda: Call(torch.sqrt), _NO_KERNEL),
    Kernel(operator.pow, Verdict.FLOAT, lambda: Call(operator.pow, 2), _NO_KERNEL),
    Kernel(torch.pow, Verdict.FLOAT, lambda: Call(torch.pow, 2), _NO_KERNEL),
    Kernel(Tensor.pow, Verdict.FLOAT, lambda: Call(Tensor.pow, 2), _NO_KERNEL),
    Kernel(nn.GLU, Verdict.FLOAT, lambda: nn.GLU(1), _NO_KERNEL),
    Kernel(F.glu, Verdict.FLOAT, lambda: Call(F.glu, 1), _NO_KERNEL),
    Kernel(F.unfold, Verdict.FLOAT, lambda: Call(F.unfold, 3), _NO_KERNEL),
    Kernel(F.fold, Verdict.FLOAT, lambda: Call(F.fold, (24, 24), 2, stride=2), _NO_KERNEL, shape=(2, 8, 144)),
    Kernel(nn.Flatten, Verdict.FOLLOWS, nn.Flatten),
    Kernel(torch.flatten, Verdict.FOLLOWS, lambda: Call(torch.flatten, 1)),
    Kernel(Tensor.flatten, Verdict.FOLLOWS, lambda: Call(Tensor.flatten, 1)),
    Kernel(torch.reshape, Verdict.FOLLOWS, lambda: Call(torch.reshape, (2, -1))),
    Kernel(Tensor.reshape, Verdict.FOLLOWS, lambda: Call(Tensor.reshape, 2, -1)),
    Kernel(Tensor.view, Verdict.FOLLOWS, lambda: Call(Tensor.view, 2, 4, 2, 12, 12)),
    Kernel(torch.permute, Verdict.FOLLOWS, lambda: Call(torch.permute, (0, 2, 3, 1))),
    Kernel(Tensor.permute, Verdict.FOLLOWS, lambda: Call(Tensor.permute, 0, 2, 3, 1)),
    Kernel(torch.transpose, Verdict.FOLLOWS, lambda: Call(torch.transpose, 1, 2)),
    Kernel(Tensor.transpose, Verdict.FOLLOWS, lambda: Call(Tensor.transpose, 1, 2)),
    Kernel(Tensor.contiguous, Verdict.FOLLOWS, lambda: Call(Tensor.contiguous)),
    Kernel(torch.squeeze, Verdict.FOLLOWS, lambda: Call(torch.squeeze, 1), shape=(2, 1, 8, 12)),
    Kernel(Tensor.squeeze, Verdict.FOLLOWS, lambda: Call(Tensor.squeeze, 1), shape=(2, 1, 8, 12)),
    Kernel(torch.unsqueeze, Verdict.FOLLOWS, lambda: Call(torch.unsqueeze, 1)),
    Kernel(Tensor.unsqueeze, Verdict.FOLLOWS, lambda: Call(Tensor.unsqueeze, 1)),
    Kernel(torch.chunk, Verdict.FOLLOWS, lambda: Call(torch.chunk, 2, 1)),
    Kernel(Tensor.chunk, Verdict.FOLLOWS, lambda: Call(Tensor.chunk, 2, 1)),
    Kernel(torch.split, Verdict.FOLLOWS, lambda: Call(torch.split, 4, 1)),
    Kernel(Tensor.split, Verdict.FOLLOWS, lambda: Call(Tensor.split, [2, 6], 1)),
    Kernel(torch.unbind, Verdict.FOLLOWS, lambda: Call(torch.unbind, 1)),
    Kernel(Tensor.unbind, Verdict.FOLLOWS, lambda: Call(Tensor.unbind, 1)),
    Kernel(torch.stack, Verdict.WRONG, lambda: Stacked(), _FIRST_RANGE, inputs=2),
    Kernel(torch.swapaxes, Verdict.FOLLOWS, lambda: Call(torch.swapaxes, 1, 3)),
    Kernel(Tensor.swapaxes, Verdict.FOLLOWS, lambda: Call(Tensor.swapaxes, 1, 3)),
    Kernel(Tensor.movedim, Verdict.FOLLOWS, lambda: Call(Tensor.movedim, 1, 3)),
    Kernel(torch.movedim, Verdict.FOLLOWS, lambda: Call(torch.movedim, 1, 3)),
    Kernel(torch.narrow, Verdict.FOLLOWS, lambda: Call(torch.narrow, 1, 2, 3)),
    Kernel(Tensor.narrow, Verdict.FOLLOWS, lambda: Call(Tensor.narrow, 1, 2, 3)),
    Kernel(Tensor.unflatten, Verdict.FOLLOWS, lambda: Call(Tensor.unflatten, 1, (2, 4))),
    Kernel(nn.Unflatten, Verdict.FOLLOWS, lambda: nn.Unflatten(1, (2, 4))),
    Kernel(Tensor.expand, Verdict.FOLLOWS, lambda: Call(Tensor.expand, -1, 4, -1, -1), shape=(2, 1, 8, 12)),
    Kernel(Tensor.repeat, Verdict.FOLLOWS, lambda: Call(Tensor.repeat, 1, 2, 1, 1)),
    Kernel(torch.roll, Verdict.FLOAT, lambda: Call(torch.roll, (1, -2), (2, 3)), _NO_KERNEL),
    Kernel(Tensor.roll, Verdict.FLOAT, lambda: Call(Tensor.roll, (1, -2), (2, 3)), _NO_KERNEL),
    Kernel(torch.flip, Verdict.FOLLOWS, lambda: Call(torch.flip, [3])),
    Kernel(Tensor.flip, Verdict.FOLLOWS, lambda: Call(Tensor.flip, [3])),
    Kernel(Tensor.detach, Verdict.FOLLOWS, lambda: Call(Tensor.detach)),
    Kernel(torch.clone, Verdict.FOLLOWS, lambda: Call(torch.clone)),
    Kernel(Tensor.clone, Verdict.FOLLOWS, lambda: Call(Tensor.clone)),
    Kernel(torch.tile, Verdict.FOLLOWS, lambda: Call(torch.tile, (1, 2, 1, 1))),
    Kernel(Tensor.tile, Verdict.FOLLOWS, lambda: Call(Tensor.tile, 1, 1, 2, 1)),
    Kernel(torch.repeat_interleave, Verdict.FOLLOWS, lambda: Call(torch.repeat_interleave, 2, 2)),
    Kernel(Tensor.repeat_interleave, Verdict.FOLLOWS, lambda: Call(Tensor.repeat_interleave, 2, 1)),
    Kernel(torch.broadcast_to, Verdict.FOLLOWS, lambda: Call(torch.broadcast_to, (2, 4, 8, 12)), shape=(2, 1, 8, 12)),
    Kernel(Tensor.broadcast_to, Verdict.FOLLOWS, lambda: Call(Tensor.broadcast_to, 2, 4, 8, 12), shape=(2, 1, 8, 12)),
    Kernel(Tensor.expand_as, Verdict.FOLLOWS, lambda: ShapedAlike(Tensor.expand_as), shape=(2, 1, 8, 12)),
    Kernel(Tensor.reshape_as, Verdict.FOLLOWS, lambda: ShapedAlike(Tensor.reshape_as), shape=(2, 1, 8, 12)),
    Kernel(torch.select, Verdict.FOLLOWS, lambda: Call(torch.select, 1, 2)),
    Kernel(Tensor.select, Verdict.FOLLOWS, lambda: Call(Tensor.select, 1, 2)),
    Kernel(Tensor.unfold, Verdict.FOLLOWS, lambda: Call(Tensor.unfold, 2, 4, 4)),
    Kernel(torch.unflatten, Verdict.FOLLOWS, lambda: Call(torch.unflatten, 1, (2, 4))),
    Kernel(torch.tensor_split, Verdict.FOLLOWS, lambda: Call(torch.tensor_split, 3, 1)),
    Kernel(Tensor.tensor_split, Verdict.FOLLOWS, lambda: Call(Tensor.tensor_split, 3, 1)),
    Kernel(torch.swapdims, Verdict.FOLLOWS, lambda: Call(torch.swapdims, 1, 3)),
    Kernel(Tensor.swapdims, Verdict.FOLLOWS, lambda: Call(Tensor.swapdims, 1, 3)),
    Kernel(torch.moveaxis, Verdict.FOLLOWS, lambda: Call(torch.moveaxis, 1, 3)),
    Kernel(Tensor.moveaxis, Verdict.FOLLOWS, lambda: Call(Tensor.moveaxis, 1, 3)),
    Kernel(torch.rot90, Verdict.FOLLOWS, lambda: Call(torch.rot90, 1, (2, 3))),
    Kernel(Tensor.rot90, Verdict.FOLLOWS, lambda: Call(Tensor.rot90, 1, (2, 3))),
    Kernel(F.pad, Verdict.FOLLOWS, lambda: Call(F.pad, (1, 2, 1, 0)), call_limits=limits.zeros_or_reflect),
    Kernel(nn.ZeroPad1d, Verdict.FOLLOWS, lambda: nn.ZeroPad1d((1, 2)), shape=(2, 8, 12)),
    Kernel(nn.ZeroPad2d, Verdict.FOLLOWS, lambda: nn.ZeroPad2d((1, 2, 0, 1))),
    Kernel(nn.ZeroPad3d, Verdict.FLOAT, lambda: nn.ZeroPad3d(1), _NO_PAD3D, shape=(2, 8, 4, 6, 5)),
    Kernel(nn.ReflectionPad2d, Verdict.FOLLOWS, lambda: nn.ReflectionPad2d(1)),
    Kernel(nn.ReflectionPad1d, Verdict.FOLLOWS, lambda: nn.ReflectionPad1d(2), shape=(2, 8, 12)),
    Kernel(
        nn.ConstantPad1d, Verdict.FOLLOWS, lambda: nn.ConstantPad1d(2, 0.0), shape=(2, 8, 12), limits=limits.with_zeros,
    ),
    Kernel(nn.ConstantPad2d, Verdict.FOLLOWS, lambda: nn.ConstantPad2d(1, 0.0), limits=limits.with_zeros),
    Kernel(nn.Threshold, Verdict.FOLLOWS, lambda: nn.Threshold(0.5, 0.0), limits=limits.with_zeros),
    Kernel(nn.ReplicationPad2d, Verdict.FLOAT, lambda: nn.ReplicationPad2d(1), _NO_KERNEL),
    Kernel(nn.CircularPad2d, Verdict.FLOAT, lambda: nn.CircularPad2d(1), _NO_KERNEL),
    Kernel(operator.getitem, Verdict.FOLLOWS, lambda: Call(operator.getitem, (slice(None), slice(2, 6)))),
    Kernel(F.interpolate, Verdict.FOLLOWS, interpolating("nearest"), call_limits=limits.interpolation),
    Kernel(
        nn.Upsample, Verdict.FOLLOWS, lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        limits=limits.upsample_mode, call_limits=limits.not_of_tokens,
    ),
    Kernel(
        nn.UpsamplingNearest2d, Verdict.FOLLOWS, lambda: nn.UpsamplingNearest2d(scale_factor=2),
        call_limits=limits.not_of_tokens,
    ),
    Kernel(
        nn.UpsamplingBilinear2d, Verdict.FOLLOWS, lambda: nn.UpsamplingBilinear2d(scale_factor=2),
        call_limits=limits.not_of_tokens,
    ),
    Kernel(nn.ChannelShuffle, Verdict.FOLLOWS, lambda: nn.ChannelShuffle(2)),
    Kernel(F.channel_shuffle, Verdict.FOLLOWS, lambda: Call(F.channel_shuffle, 2)),
    Kernel(nn.PixelShuffle, Verdict.FOLLOWS, lambda: nn.PixelShuffle(2)),
    Kernel(F.pixel_shuffle, Verdict.FOLLOWS, lambda: Call(F.pixel_shuffle, 2)),
    Kernel(nn.PixelUnshuffle, Verdict.FOLLOWS, lambda: nn.PixelUnshuffle(2)),
    Kernel(F.pixel_unshuffle, Verdict.FOLLOWS, lambda: Call(F.pixel_unshuffle, 2)),
    # videos as images
    Kernel(frames.ToFrames, Verdict.FOLLOWS, lambda: frames.ToFrames(2, 2, 1, 2), shape=(2, 8, 6, 6, 5)),
    Kernel(frames.FromFrames, Verdict.FOLLOWS, lambda: Sized(frames.FromFrames(), 2), shape=(6, 8, 5, 4)),
    Kernel(frames.ToColumns, Verdict.FOLLOWS, frames.ToColumns, shape=(2, 8, 4, 6, 5)),
    Kernel(frames.FromColumns, Verdict.FOLLOWS, lambda: Sized(frames.FromColumns(), 3), shape=(2, 8, 5, 12)),
    # observed arithmetic
    Kernel(m.Add, Verdict.INT8, m.Add, inputs=2),
    Kernel(m.AddReLU, Verdict.INT8, m.AddReLU, inputs=2),
    Kernel(m.Mul, Verdict.INT8, m.Mul, inputs=2),
    Kernel(m.MatMul, Verdict.INT8, m.MatMul, inputs=2, emulated=True),
    Kernel(m.Cat, Verdict.INT8, lambda: OfList(m.Cat(1)), inputs=2),
    Kernel(m.Stack, Verdict.INT8, lambda: OfList(m.Stack(1)), inputs=2),
    Kernel(m.AddScalar, Verdict.INT8, lambda: m.AddScalar(0.7)),
    Kernel(m.MulScalar, Verdict.INT8, lambda: m.MulScalar(-1.3)),
    Kernel(m.DivScalar, Verdict.INT8, lambda: m.DivScalar(-1.3)),
    Kernel(functions.Quotient, Verdict.FLOAT, lambda: functions.Quotient(2.0), _NO_KERNEL),
    Kernel(m.Emulated, Verdict.INT8, lambda: m.Emulated(nn.Softplus()), emulated=True),
    Kernel(m.WrappedBinary, Verdict.INT8, lambda: m.WrappedBinary(m.Add()), inputs=2),
    Kernel(m.WrappedUnary, Verdict.INT8, lambda: m.WrappedUnary(m.AddScalar(0.7))),
    Kernel(m.WrappedCat, Verdict.INT8, lambda: OfList(m.WrappedCat(m.Cat(1))), inputs=2),
)  # fmt: skip


KERNELS: dict[Callable[..., Any], Kernel] = {row.key: row for row in _ROWS}


# The operations whose multiply-accumulates are counted: what int8 is for.
MULTIPLY_ACCUMULATE = frozenset(
    {nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear, m.LinearRows, m.MatMul}
)


# The operations that move values and compute none.
MOVES: frozenset[Callable[..., Any]] = frozenset(
    {
        frames.ToFrames, frames.FromFrames, frames.ToColumns, frames.FromColumns, nn.Flatten, nn.Unflatten,
        torch.flatten, Tensor.flatten, torch.reshape, Tensor.reshape, Tensor.unflatten, torch.permute, Tensor.permute,
        torch.transpose, Tensor.transpose, torch.swapaxes, Tensor.swapaxes, torch.movedim, Tensor.movedim,
        Tensor.expand, torch.squeeze,
        Tensor.squeeze, torch.unsqueeze, Tensor.unsqueeze, Tensor.contiguous, torch.narrow, Tensor.narrow,
        operator.getitem, torch.flip, Tensor.flip, F.pad, nn.ZeroPad1d, nn.ZeroPad2d,
        nn.ReflectionPad1d, nn.ReflectionPad2d,
        nn.PixelUnshuffle, F.pixel_unshuffle, nn.ChannelShuffle, F.channel_shuffle,
    }
)  # fmt: skip


def verdict(
    target: Callable[..., Any] | None, module: nn.Module | None = None, node: fx.Node | None = None
) -> tuple[Verdict, str]:
    """The verdict on one call and the reason for it; what is not in the table runs in float.

    `target` is a key of the table; `module` the called module, when there is one, and `node` the call itself: their
    settings may be limits.
    """
    row = KERNELS.get(target) if target is not None else None
    if row is None:
        return Verdict.FLOAT, "the kernel table has no row for it"
    if module is not None and (limit := row.limits(module)) is not None:
        return Verdict.FLOAT, limit
    if node is not None and (limit := row.call_limits(node)) is not None:
        return Verdict.FLOAT, limit
    return row.verdict, row.reason
