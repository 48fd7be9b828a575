"""Whether a layer of a Q/DQ form computes with the integers of its int8 module: all of its weight and bias."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fxconv.targets.qdq.layers import bias_integers, bias_scales, is_by_channel

# What float32 loses of a large integer times its scale, of the integer itself; of small ones nothing is lost.
_ROUNDING = 2.0**-22


def integer_problem(module: Any, weight: Tensor, bias: Tensor | None, input_scale: float | None) -> str:
    """What is wrong with a layer's dequantized weight and its bias; empty when nothing.

    `module` is the int8 layer, `input_scale` the scale of what it reads: None where that is ranged at every call, and
    biases are float numbers.
    """
    own: Tensor = module.weight()
    scales = own.q_per_channel_scales() if is_by_channel(own) else torch.tensor(own.q_scale(), dtype=torch.float64)
    shape = [1] * own.ndim
    if scales.ndim:
        shape[own.q_per_channel_axis()] = -1
    if problem := _differing("weight", weight.double() / scales.view(shape), own.int_repr().double()):
        return problem
    wanted: Tensor | None = module.bias()
    if wanted is None or bias is None:
        return "" if wanted is bias else "has a bias in one of form and int8 module alone"
    if input_scale is None:
        return "" if torch.equal(wanted, bias) else "its bias is not the int8 module's"
    integers = bias_integers(wanted, own, input_scale).double()
    return _differing("bias", bias.double() / bias_scales(own, input_scale), integers)


def _differing(what: str, got: Tensor, wanted: Tensor) -> str:
    """That integers differ; empty when all are the same."""
    steps = ((got - wanted).abs() - wanted.abs() * _ROUNDING).clamp_min(0)
    differ = int((steps > 0.25).sum())
    if not differ and math.isfinite(float(steps.sum())):
        return ""
    worst = f"the worst by {float(steps.max()):.0f}"
    return f"{differ} of {steps.numel()} integers of its {what} differ from the int8 module's, {worst}"
