"""How like the float model's answers another module's are, added up image by image so that none is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def class_scores(returned: Sequence[Tensor]) -> list[Tensor]:
    """The outputs for one image, an N of 1, that are class scores: rows `[1, K]` with K at least 2."""
    return [value for value in returned if value.ndim == 2 and value.shape[0] == 1 and value.shape[1] > 1]


def has_class_scores(outputs: Sequence[Sequence[Tensor]]) -> bool:
    """Whether a model that returned these, a list for each image, gives class scores: as many for one as for another.

    What a detector found may have the shape of scores now and then.
    """
    shapes = [[scores.shape for scores in class_scores(returned)] for returned in outputs]
    return bool(shapes) and bool(shapes[0]) and all(each == shapes[0] for each in shapes)


def answers(returned: Sequence[Tensor]) -> list[int]:
    """The class each output of scores puts first."""
    return [int(scores.argmax(1)) for scores in class_scores(returned)]


class Similarity:
    """Signal, noise and equal answers over all images that were added.

    `scores` says how many of the outputs, from the first, the model itself returns; only those may be class scores.
    """

    def __init__(self, scores: int | None = None) -> None:
        self.scores = scores
        self.powers: list[tuple[float, float]] = []
        self.same = self.asked = 0

    def add(self, wanted: Sequence[Tensor], got: Sequence[Tensor]) -> None:
        """One image: what the float model gave, and what is compared with it."""
        for index, (a, b) in enumerate(zip(wanted, got, strict=True)):
            if index == len(self.powers):
                self.powers.append((0.0, 0.0))
            signal, noise = self.powers[index]
            self.powers[index] = (signal + _power(a), noise + _distance(a, b))
        pairs = list(zip(answers(wanted[: self.scores]), answers(got[: self.scores]), strict=True))
        self.same += sum(a == b for a, b in pairs)
        self.asked += len(pairs)

    @property
    def sqnr_db(self) -> float:
        """10 log10 of signal power over noise power, of the worst output; infinite when all are equal."""
        return min((_decibels(signal, noise) for signal, noise in self.powers), default=math.inf)

    @property
    def agreement(self) -> float | None:
        """The share of images, from 0 to 1, of which both put the same class first; None without class scores."""
        return self.same / self.asked if self.asked else None


def _power(value: Tensor) -> float:
    finite = value.double()
    return float(torch.where(finite.isfinite(), finite, 0.0).square().sum())


def _distance(a: Tensor, b: Tensor) -> float:
    """The squared distance; infinite when one is not a number where the other is, or the shapes differ."""
    if a.shape != b.shape:
        return math.inf
    first, second = a.double(), b.double()
    difference = torch.where(first == second, torch.zeros_like(first), first - second)
    return float(difference.nan_to_num(math.inf, math.inf, math.inf).square().sum())


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal and math.isfinite(noise) else -math.inf
