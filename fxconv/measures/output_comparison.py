"""How far apart the outputs of two modules are: largest difference, SQNR, agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fxconv.models.forward import Outputs


def shape_problem(reference: Outputs, found: Outputs) -> str:
    """How the shapes of two modules' outputs differ, in words; "" when they do not."""
    for expected, got in zip(reference, found, strict=True):
        if [t.shape for t in expected] != [t.shape for t in got]:
            return f"outputs of shape {[tuple(t.shape) for t in got]}, not {[tuple(t.shape) for t in expected]}"
    return ""


@dataclass(frozen=True)
class Noise:
    """One output over all images; differences that are not numbers are infinite.

    `largest` is the largest difference, `sqnr` in decibels, `peak` the reference's largest magnitude.
    """

    largest: float
    sqnr: float
    peak: float

    def is_within(self, tolerance: float) -> bool:
        """Whether no value differs, or none by more than this share of the largest magnitude."""
        # equal first: an infinite output has no tolerance that could be multiplied by it
        return self.largest == 0 or self.largest <= tolerance * self.peak


def noise_of(reference: Sequence[Tensor], found: Sequence[Tensor]) -> Noise:
    """The noise of one output, given for each image."""
    largest, peak, signal, noise = 0.0, 0.0, 0.0, 0.0
    for a, b in zip(reference, found, strict=True):
        if not a.numel():
            continue
        a64, b64 = a.double(), b.double()
        difference = torch.where(a64 == b64, torch.zeros_like(a64), a64 - b64).abs().nan_to_num(math.inf, math.inf)
        largest = max(largest, difference.max().item())
        finite = torch.where(a64.isfinite(), a64, 0.0)  # infinity is a signal beside which any noise is silent
        peak = max(peak, finite.abs().max().item())
        signal += finite.square().sum().item()
        noise += difference.square().sum().item()
    if noise == 0:
        return Noise(largest, math.inf, peak)
    return Noise(largest, 10 * math.log10(signal / noise) if signal and math.isfinite(noise) else -math.inf, peak)


def noises(reference: Outputs, found: Outputs) -> list[Noise]:
    """The noise of each output over all images. Both must have the same shapes."""
    pairs = zip(zip(*reference, strict=True), zip(*found, strict=True), strict=True)
    return [noise_of(expected, got) for expected, got in pairs]


def within(reference: Outputs, found: Outputs, tolerance: float) -> bool:
    """Whether two modules give outputs of the same shapes, each of them within the tolerance."""
    if shape_problem(reference, found):
        return False
    return all(noise.is_within(tolerance) for noise in noises(reference, found))


def agreement(reference: Outputs, found: Outputs) -> float | None:
    """The share of class scores, 0 to 1, that both put the same class first in; None without class scores."""
    pairs = [
        (a, b)
        for expected, got in zip(reference, found, strict=True)
        for a, b in zip(expected, got, strict=True)
        if a.ndim == 2 and a.shape[1] > 1
    ]
    if not pairs:
        return None
    same = [(a.argmax(1) == b.argmax(1)).float().mean().item() for a, b in pairs]
    return sum(same) / len(same)


def constant_outputs(reference: Outputs) -> list[int]:
    """The outputs that hold one and the same value everywhere, on all images: comparing them says nothing."""
    flat = [torch.cat([value.flatten() for value in values]) for values in zip(*reference, strict=True)]
    return [index for index, values in enumerate(flat) if values.numel() > 1 and bool((values == values[0]).all())]
