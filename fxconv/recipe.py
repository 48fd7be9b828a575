"""Accuracy recovered without training: the steps of a recipe, and how `auto` chooses among them.

Each step changes what int8 computes. All but equalization leave the float model alone and work on one calibration: the
histograms of the activations and the mean of each layer's input, so that a step can be tried without running the images
again. Equalization keeps the function of the float model up to rounding, and is calibrated anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from fxconv.config import Recipe
from fxconv.equalization import Equalized
from fxconv.likeness import Likeness

# Images that `auto` judges by, at most.
JUDGED = 16
# A step has to bring so many decibels: less is rounding that happens to fall well.
_LEAST_GAIN = 0.1
# Above this many parameters a trial costs more time and memory than most have.
LARGEST = 100_000_000

STEPS: dict[Recipe, str] = {
    Recipe.percentile_ranges: "activations' ranges leave out one value in ten thousand at either end",
    Recipe.bias_correction: "biases take up the mean error that rounded weights make",
    Recipe.weight_ranges: "weights' ranges are cut where that lessens the squared error",
    Recipe.equalization: "channels that use little of a range are scaled up, and down again in the next layer",
}
"""What each step does, in the order in which `auto` tries them."""


@dataclass(frozen=True)
class StepGain:
    """One step: whether it is part of the result, and what it was judged by.

    The SQNR in decibels and the share of equal answers, from 0 to 1 (None without class scores), with the steps chosen
    before it, and with it as well.
    """

    step: Recipe
    is_applied: bool
    sqnr_before: float
    sqnr_after: float
    agreement_before: float | None
    agreement_after: float | None


@dataclass(frozen=True)
class Chosen:
    """The steps that int8 was made with; `gains` says how they were chosen, `images` on how many images of `source`.

    `reason` says why nothing was tried, when the recipe was `auto` and nothing was; `is_unseen` whether calibration did
    not see those images.
    """

    steps: tuple[Recipe, ...] = ()
    gains: tuple[StepGain, ...] = ()
    images: int = 0
    source: str = ""
    is_unseen: bool = True
    reason: str = ""
    equalized: tuple[Equalized, ...] = ()

    @property
    def capped_channels(self) -> tuple[int, int]:
        """How many channels below a ReLU6, between two layers that were equalized, are scaled; and how many there are.

        Only those that never reach its cap may be.
        """
        scaled: dict[str, Tensor] = {}
        for one in self.equalized:
            if one.cap is not None:
                scaled[one.first] = scaled.get(one.first, torch.zeros_like(one.scales).bool()) | (one.scales < 1)
        return sum(int(each.sum()) for each in scaled.values()), sum(map(len, scaled.values()))


def tried(
    judged: Callable[[tuple[Recipe, ...]], Likeness | None], named: Collection[Recipe] = ()
) -> tuple[tuple[Recipe, ...], tuple[StepGain, ...]]:
    """The steps that help, each tried on top of those that did; with `named` these, whether they help or not.

    `judged` says how like float int8 is with some steps, None when there is no int8 module with them. A step helps when
    the outputs come closer to float's, and no more answers change than may by chance.
    """
    steps: tuple[Recipe, ...] = ()
    best, gains = judged(()) or Likeness(), list[StepGain]()
    for step in STEPS:
        if named and step not in named:
            continue
        found = judged((*steps, step))
        if found is None:
            continue
        helps = found.sqnr_db >= best.sqnr_db + _LEAST_GAIN and not _falls(best, found)
        gains.append(StepGain(step, helps or bool(named), best.sqnr_db, found.sqnr_db, best.agreement, found.agreement))
        if gains[-1].is_applied:
            steps, best = (*steps, step), found
    return steps, tuple(gains)


def _falls(before: Likeness, after: Likeness) -> bool:
    """Whether fewer answers are float's than chance alone explains."""
    if before.agreement is None or after.agreement is None:
        return False
    changed = max(1 - before.agreement, 1 / before.asked)
    return after.agreement < before.agreement - math.sqrt(changed / before.asked)
