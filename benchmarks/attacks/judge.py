"""How an attack ended, without fxconv's own checks: the file in the lite interpreter beside the float model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

# What an int8 file must reach on images like calibration's, in dB; a channel about its own mean may have 6 less.
LEAST = 8.0
_OF_A_CHANNEL = 6.0
_VALUES = 16
_VARIES = 1e-3
# The share of whole numbers and truth values that must be the same.
_SAME = 0.95
OUTCOMES = ("refused", "told", "right", "silent wrong", "crashed")


@dataclass(frozen=True)
class Comparison:
    """`sqnr` is the worst over the probes, in dB, and `trouble` why a file could not be compared at all."""

    sqnr: float
    trouble: str = ""

    @property
    def is_right(self) -> bool:
        return not self.trouble and self.sqnr >= LEAST


def compare(floating: Callable[..., Any], lite: Callable[..., Any], probes: Sequence[Tensor]) -> Comparison:
    """The file beside the float model, probe by probe in order, as one that remembers would see them.

    A probe that the float model itself refuses says nothing.
    """
    worst = math.inf
    with torch.no_grad():
        for probe in probes:
            try:
                wanted = _tensors(floating(probe.clone()))
            except Exception:
                continue
            try:
                got = _tensors(lite(probe.clone()))
            except Exception as error:
                return Comparison(-math.inf, f"the file fails: {str(error).strip().splitlines()[-1][:100]}")
            if [value.shape for value in wanted] != [value.shape for value in got]:
                return Comparison(-math.inf, "the file answers in other shapes")
            worst = min([worst, *map(_worst, wanted, got)])
    return Comparison(worst)


def outcome(is_verified: bool, comparison: Comparison | None, is_named: bool, crash: str = "") -> str:
    """One of `OUTCOMES`: a file that was written and is wrong is told of, or silent."""
    if crash:
        return "crashed"
    if not is_verified or comparison is None:
        return "refused"
    if comparison.is_right:
        return "right"
    return "told" if is_named else "silent wrong"


def _tensors(returned: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]


def _worst(wanted: Tensor, got: Tensor) -> float:
    """The SQNR of one output, whole, and of each channel that varies about its own mean."""
    if not (wanted.is_floating_point() or wanted.is_complex()):
        return math.inf if (wanted == got).float().mean() > _SAME else -math.inf
    a, b = (_parts(value) for value in (wanted, got))
    found = [sqnr(a, b)]
    if a.ndim == 2:
        found.append(sqnr(a - a.mean(), b - a.mean()))
    if a.ndim > 2:
        for p, q in zip(a.transpose(0, 1).flatten(1), b.transpose(0, 1).flatten(1), strict=True):
            middle = p.mean()
            if p.numel() > _VALUES and (p - middle).abs().max() > _VARIES * p.abs().max():
                found.append(sqnr(p - middle, q - middle) + _OF_A_CHANNEL)
    return min(found)


def _parts(value: Tensor) -> Tensor:
    """Doubles; real and imaginary parts of complex numbers are channels."""
    if value.is_complex():
        value = torch.cat([value.real, value.imag], min(1, value.ndim - 1))
    return value.double()


def sqnr(wanted: Tensor, got: Tensor) -> float:
    """Signal over noise in decibels."""
    noise, power = float((wanted - got).square().sum()), float(wanted.square().sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(power / noise) if power and math.isfinite(noise) and math.isfinite(power) else -math.inf
