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
OF_A_CHANNEL = 6.0
_VALUES = 16
_VARIES = 1e-3
# An offset of 1000 leaves float32 so much of what varies by 1 that its rounding is no matter.
_ROUNDED = 1e-5
# The share of whole numbers and truth values that must be the same.
_SAME = 0.9
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
    pairs: list[list[tuple[Tensor, Tensor]]] = []
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
            pairs.append([(a.clone(), b.clone()) for a, b in zip(wanted, got, strict=True)])
    return Comparison(min(map(_worst, zip(*pairs, strict=True)), default=math.inf))


def outcome(is_verified: bool, comparison: Comparison | None, is_named: bool, crash: str = "") -> str:
    """One of `OUTCOMES`. A wrong file that was written counts as told with a warning that names why, else as silent."""
    if crash:
        return "crashed"
    if not is_verified or comparison is None:
        return "refused"
    if comparison.is_right:
        return "right"
    return "told" if is_named else "silent wrong"


def _tensors(returned: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]


def _worst(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The SQNR of one output: for each probe, and over all images of one shape about its mean and by channel."""
    if not (pairs[0][0].is_floating_point() or pairs[0][0].is_complex()):
        same = torch.cat([(a == b).flatten() for a, b in pairs])
        return math.inf if same.float().mean() >= _SAME else -math.inf
    values = [(_parts(a), _parts(b)) for a, b in pairs]
    found = [sqnr(a, b) for a, b in values]
    found += [sqnr(a - a.mean(), b - a.mean()) for a, b in values if a.ndim == 2 and a.shape[1] > 1]
    for shape in {a.shape[1:] for a, _ in values if a.ndim > 1}:
        a, b = (torch.cat(each) for each in zip(*(pair for pair in values if pair[0].shape[1:] == shape), strict=True))
        found += [decibels + OF_A_CHANNEL for decibels in (_about(a, b, a.mean(0)), *_channels(a, b))]
    return min(found)


def _channels(a: Tensor, b: Tensor) -> list[float]:
    rows = zip(a.transpose(0, 1).flatten(1), b.transpose(0, 1).flatten(1), strict=True)
    return [_about(p, q, p.mean()) for p, q in rows if p.numel() > _VALUES]


def _about(a: Tensor, b: Tensor, middle: Tensor) -> float:
    """About a mean; what hardly varies says nothing."""
    varies = (a - middle).abs().max() > (_VARIES if middle.ndim == 0 else _ROUNDED) * a.abs().max()
    return sqnr(a - middle, b - middle) if varies else math.inf


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
