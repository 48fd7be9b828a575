"""How far apart the outputs of two modules are: largest difference, SQNR, agreement.

Fractional and complex outputs are compared by their distance. Of whole numbers and truth values nobody says whether
they count or name: pixels off by one are nearly right, a class off by one is wrong. So they are compared both ways, by
their distance about their mean and by how many are equal, each value one unit of signal and each that differs one of
noise, and the better of the two holds: that of classes taken for numbers is lower, for wrong ones are far from right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fxconv.models.forward import Outputs


def numbers(value: Tensor) -> Tensor:
    """The values in float64; of complex ones real and imaginary parts, side by side in a last dimension."""
    return (torch.view_as_real(value.resolve_conj()) if value.is_complex() else value).double()


def is_whole(value: Tensor) -> bool:
    """Whether a tensor holds whole numbers or truth values."""
    return not (value.is_floating_point() or value.is_complex())


def decibels(signal: float, noise: float) -> float:
    """10 log10 of signal power over noise power; infinite without noise, and negatively so without a signal."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 and math.isfinite(noise) else -math.inf


def shape_problem(reference: Outputs, found: Outputs) -> str:
    """How the shapes of two modules' outputs differ, in words; "" when they do not."""
    for expected, got in zip(reference, found, strict=True):
        if [t.shape for t in expected] != [t.shape for t in got]:
            return f"outputs of shape {[tuple(t.shape) for t in got]}, not {[tuple(t.shape) for t in expected]}"
    return ""


def difference(a: Tensor, b: Tensor) -> Tensor:
    """The distance of each pair of values; infinite where one is not a number and the other is, or a shape differs."""
    if a.shape != b.shape:
        return torch.full((1,), math.inf, dtype=torch.float64)
    return torch.where(a == b, torch.zeros_like(a), a - b).abs().nan_to_num(math.inf, math.inf)


@dataclass
class Noise:
    """One output over the images that were added; differences that are not numbers are infinite.

    `largest` is the largest difference, `peak` the reference's largest magnitude; `signal` and `noise` are sums of
    squares, `total` is the sum of the values, `values` how many there are, `others` how many of them differ.
    """

    largest: float = 0.0
    peak: float = 0.0
    signal: float = 0.0
    noise: float = 0.0
    total: float = 0.0
    values: int = 0
    others: int = 0
    is_whole: bool = False

    def add(self, wanted: Tensor, got: Tensor) -> None:
        """One image: what the one module gives, and what the other."""
        if not wanted.numel() and wanted.shape == got.shape:
            return
        self.is_whole |= is_whole(wanted)
        values = numbers(wanted)
        apart = difference(values, numbers(got))
        finite = torch.where(values.isfinite(), values, 0.0)  # infinity is a signal beside which any noise is silent
        self.largest = max(self.largest, apart.max().item())
        self.signal += finite.square().sum().item()
        self.noise += apart.square().sum().item()
        if finite.numel():
            self.peak = max(self.peak, finite.abs().max().item())
        if self.is_whole:
            self.total += finite.sum().item()
            self.values += finite.numel()
            self.others += int(apart.count_nonzero())

    @property
    def sqnr(self) -> float:
        """10 log10 of signal power over noise power; infinite when all is equal."""
        if not self.is_whole:
            return decibels(self.signal, self.noise)
        about_mean = self.signal - self.total**2 / max(self.values, 1)
        return max(decibels(about_mean, self.noise), decibels(self.values, self.others))

    def is_within(self, tolerance: float) -> bool:
        """Whether no value differs, or none by more than this share of the largest magnitude."""
        # equal first: an infinite output has no tolerance that could be multiplied by it
        return self.largest == 0 or self.largest <= tolerance * self.peak


def noise_of(reference: Sequence[Tensor], found: Sequence[Tensor]) -> Noise:
    """The noise of one output, given for each image."""
    noise = Noise()
    for wanted, got in zip(reference, found, strict=True):
        noise.add(wanted, got)
    return noise


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
    """The share of class scores, 0 to 1, that both put the same class first in; None without class scores.

    Scores of no rows are none: a detector that finds nothing returns such, of any type.
    """
    pairs = [
        (a, b)
        for expected, got in zip(reference, found, strict=True)
        for a, b in zip(expected, got, strict=True)
        if a.ndim == 2 and a.shape[0] and a.shape[1] > 1 and a.is_floating_point()
    ]
    if not pairs:
        return None
    same = [(a.argmax(1) == b.argmax(1)).float().mean().item() for a, b in pairs]
    return sum(same) / len(same)


def constant_outputs(reference: Outputs) -> list[int]:
    """The outputs that hold one and the same value everywhere, on all images: comparing them says nothing.

    A lone number, as of a size, is no such output.
    """
    flat = [torch.cat([value.flatten() for value in values]) for values in zip(*reference, strict=True)]
    numbers = {index for index, values in enumerate(zip(*reference, strict=True)) if not values[0].ndim}
    return [
        index
        for index, values in enumerate(flat)
        if index not in numbers and values.numel() > 1 and bool((values == values[0]).all())
    ]
