"""Whether an int8 operation has the weights, bias and range that the float layer and calibration call for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fxconv.quantization.expected_ranges import Expected
from fxconv.quantization.int8_weights import int8_weight, weight_prefix
from fxconv.quantization.recipes.bias_correction import bias_correction
from rewrites.fusion import weighted
from rewrites.parts import prefixed

# Rounding to the nearest step moves a weight by half of one; the rest is float32.
_WEIGHT_STEPS = 0.51
# Rounding to either step beside it by up to a whole one.
_EITHER_STEP = 1.01


@dataclass(frozen=True)
class AllowedChanges:
    """How a recipe lets the weights of int8 differ from the float module's.

    `means` of the inputs of layers whose biases are corrected, by their paths; `cuts` says that weights may be cut off
    where that brings them closer on the whole; those of the layers `rounded` lie on either of the two steps beside.
    Weights that were `trained` were so with the values cut off that leave their range: that is no fault of int8.
    """

    means: Mapping[str, Tensor] = field(default_factory=dict)
    cuts: bool = False
    rounded: frozenset[str] = frozenset()
    trained: bool = False

    def of(self, place: str) -> AllowedChanges:
        """Those of the graph at this path."""
        inside = prefixed(place, "")
        own = {path.removeprefix(inside): mean for path, mean in self.means.items() if path.startswith(inside)}
        rounded = frozenset(path.removeprefix(inside) for path in self.rounded if path.startswith(inside))
        return replace(self, means=own, rounded=rounded)


def weight_problem(path: str, floating: nn.Module, module: nn.Module, changes: AllowedChanges) -> str:
    """What is wrong with the weights and bias of the int8 layer at `path`; empty when nothing, or it has none."""
    weight = int8_weight(module)
    if weight is None:
        return ""
    prefix, layer = weight_prefix(floating), weighted(floating)
    inner = f"{path}.{prefix}".rstrip(".")
    own: Tensor = layer.weight
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        shape = [1] * weight.ndim
        shape[weight.q_per_channel_axis()] = -1
        scales = weight.q_per_channel_scales().view(shape)
    else:
        scales = torch.tensor(weight.q_scale(), dtype=torch.float64)
    error = weight.dequantize() - own
    steps = float((error.abs() / scales).max())
    if inner in changes.rounded:
        # one that is cut off may be on the last step or the one before it
        ends = own if not changes.cuts else own.clamp(-127 * scales, 127 * scales)
        fits = float(((weight.dequantize() - ends).abs() / scales).max()) <= _EITHER_STEP
        fits = fits and bool((127 * scales * 4 > own.abs()).all())
    else:
        fits = steps <= _WEIGHT_STEPS or (changes.cuts and _is_closer(error, own, scales))
    if not fits:
        return f"its int8 weights are up to {steps:.3g} steps from the float weights"
    wanted = layer.bias
    got = module.bias()  # type: ignore[operator]
    mean = changes.means.get(inner)
    if mean is not None:
        addition = bias_correction(layer, weight.dequantize(), mean)
        corrected = addition if wanted is None else wanted + addition
        if got is None or not torch.allclose(got, corrected, rtol=1e-4, atol=1e-4 * float(corrected.abs().max())):
            return "its bias is not the float layer's, corrected for its rounded weights"
    elif isinstance(wanted, Tensor) and (got is None or not torch.equal(got, wanted)):
        return "its bias is not the float layer's"
    return ""


def _is_closer(error: Tensor, weight: Tensor, scales: Tensor) -> bool:
    """Whether weights that were cut off, all others within half a step, are nearer than those of the widest range."""
    dims = [dim for dim in range(weight.ndim) if scales.ndim == 0 or scales.shape[dim] == 1]
    # a bias that needs room makes steps wider than the weights do
    widest = torch.maximum(weight.abs().amax(dims, keepdim=True) / 127, scales)
    plain = (weight / widest).round() * widest - weight
    cut = weight.abs() > 127 * scales
    inside = float((torch.where(cut, 0, error).abs() / scales).max()) <= _WEIGHT_STEPS
    return inside and bool((error.square().sum(dims) <= plain.square().sum(dims) * 1.001).all())


def follow_problem(args: Any, result: Any) -> str:
    """What is wrong with the range of an operation that hands on its input's."""
    given = next((leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor) and leaf.is_quantized), None)
    for got in tree_leaves(result):
        if given is None or not isinstance(got, Tensor):
            continue
        if not got.is_quantized:
            return "gives no quantized tensor"
        if not math.isclose(got.q_scale(), given.q_scale(), rel_tol=1e-5) or got.q_zero_point() != given.q_zero_point():
            return (
                f"runs with scale {got.q_scale():.6g} and zero point {got.q_zero_point()}, "
                f"its input's are {given.q_scale():.6g} and {given.q_zero_point()}"
            )
    return ""


def range_problem(expected: Expected, result: Any) -> str:
    """What is wrong with the scale and zero point of what an operation gives; empty when nothing."""
    if expected.problem:
        return expected.problem
    if not isinstance(result, Tensor) or not result.is_quantized:
        return "gives no quantized tensor"
    scale, zero_point = result.q_scale(), result.q_zero_point()
    if math.isclose(scale, expected.scale, rel_tol=1e-5) and zero_point == expected.zero_point:
        return ""
    return (
        f"runs with scale {scale:.6g} and zero point {zero_point}, "
        f"calibrated were {expected.scale:.6g} and {expected.zero_point}"
    )
