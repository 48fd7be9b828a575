"""Batch norms folded into the layers around them: the arithmetic alone, on modules."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.ao.nn.intrinsic as nni
from torch import Tensor, nn


def factor_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What a batch norm multiplies each channel with, and what it adds to that, in float64."""
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    factor = torch.rsqrt(variance + norm.eps) * (1 if norm.weight is None else norm.weight.detach().double())
    return factor, (0 if norm.bias is None else norm.bias.detach().double()) - mean * factor


def fold_into_linear(is_qat: bool, linear: Any, norm: Any, *activation: nn.Module) -> nn.Module:
    """A linear layer with the batch norm behind it folded in, and the activation behind that; torch's own wants affine.

    In the form that `torch.ao.quantization.fuse_modules` calls it.
    """
    factor, shift = factor_and_shift(norm)
    fused = nn.Linear(linear.in_features, linear.out_features, device="meta").train(linear.training)
    bias = 0 if linear.bias is None else linear.bias.detach().double()
    fused.weight = nn.Parameter((linear.weight.detach().double() * factor[:, None]).to(linear.weight.dtype))
    fused.bias = nn.Parameter((bias * factor + shift).to(linear.weight.dtype))
    return cast(nn.Module, nni.LinearReLU(fused, activation[0]) if activation else fused)


def fold_into_next(norm: Any, layer: Any) -> None:
    """Let `layer` do the work of the batch norm in front of it as well, in place.

    It is a linear layer, a batch norm, or a convolution that pads with no zeros. A linear layer may read several
    places of each channel, one behind the other.
    """
    factor, shift = factor_and_shift(norm)
    dtype = norm.running_mean.dtype
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
        own_factor, own_shift = factor_and_shift(layer)
        weight = factor if layer.weight is None else layer.weight.detach().double() * factor
        bias = own_factor * shift + own_shift + own_factor * factor * layer.running_mean.double()
    else:
        groups, own = getattr(layer, "groups", 1), layer.weight.detach().double()
        repeats = own.shape[1] * groups // len(factor)
        factor, shift = (each.repeat_interleave(repeats).view(groups, 1, -1) for each in (factor, shift))
        grouped = own.reshape(groups, own.shape[0] // groups, own.shape[1], -1)
        weight = (grouped * factor[..., None]).reshape(own.shape)
        bias = (grouped * shift[..., None]).sum((2, 3)).reshape(-1)
        bias = bias + (0 if layer.bias is None else layer.bias.detach().double())
    layer.weight, layer.bias = nn.Parameter(weight.to(dtype)), nn.Parameter(bias.to(dtype))
