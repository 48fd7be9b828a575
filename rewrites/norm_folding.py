"""Batch norms folded into the layers around them: the arithmetic alone, on modules.

An emitted file has these functions as they stand, in lines that fit it.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.ao.nn.intrinsic as nni
from torch import Tensor, nn


def factor_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What a batch norm multiplies each channel with, and then adds, in float64."""
    factor = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight.detach().double()
    shift = -norm.running_mean.double() * factor
    return factor, shift if norm.bias is None else shift + norm.bias.detach().double()


def fold_into_linear(_: bool, linear: Any, norm: Any, *relu: nn.Module) -> nn.Module:
    """A linear layer with its batch norm folded in, and the activation behind them.

    In the form that `torch.ao.quantization.fuse_modules` calls it; torch's own wants a
    batch norm with weight and bias, and no activation.
    """
    factor, shift = factor_and_shift(norm)
    weight, bias = linear.weight.detach(), linear.bias
    fused: Any = nn.Linear(linear.in_features, linear.out_features, device="meta")
    if bias is not None:
        shift = shift + bias.detach().double() * factor
    fused.weight = nn.Parameter((weight.double() * factor[:, None]).to(weight.dtype))
    fused.bias = nn.Parameter(shift.to(weight.dtype))
    fused.train(linear.training)
    return cast(nn.Module, nni.LinearReLU(fused, relu[0]) if relu else fused)


def fold_into_next(norm: Any, layer: Any) -> None:
    """Let `layer` do the work of the batch norm in front of it as well, in place.

    It is a linear layer, a batch norm, or a convolution that pads with no zeros. A linear
    layer may read several places of each channel, one behind the other.
    """
    factor, shift = factor_and_shift(norm)
    dtype = norm.running_mean.dtype
    if getattr(layer, "running_mean", None) is not None:
        own_factor, bias = factor_and_shift(layer)
        bias = bias + own_factor * (shift + factor * layer.running_mean.double())
        weight = factor
        if layer.weight is not None:
            weight = factor * layer.weight.detach().double()
    else:
        own, groups = layer.weight.detach().double(), getattr(layer, "groups", 1)
        grouped = own.reshape(groups, own.shape[0] // groups, own.shape[1], -1)
        places = own.shape[1] * groups // len(factor)
        factor = factor.repeat_interleave(places).view(groups, 1, -1, 1)
        shift = shift.repeat_interleave(places).view(groups, 1, -1, 1)
        weight = (grouped * factor).reshape(own.shape)
        bias = (grouped * shift).sum((2, 3)).reshape(-1)
        if layer.bias is not None:
            bias = bias + layer.bias.detach().double()
    layer.weight = nn.Parameter(weight.to(dtype))
    layer.bias = nn.Parameter(bias.to(dtype))
