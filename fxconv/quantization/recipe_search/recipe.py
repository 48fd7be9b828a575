"""Accuracy recovered without training: the steps of a recipe, and how `auto` chooses among them.

Each step changes what int8 computes. Most leave the float model alone and work on one calibration: the histograms of
the activations and the mean of each layer's input, so that a step can be tried without running the images again. Those
in `CHANGING` keep the function of the float model up to rounding, but not its values on the way; they are calibrated
anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from fxconv.config import TRAINED_AWAY, Recipe
from fxconv.measures.similarity import Similarity
from fxconv.quantization.float_changes import Change
from fxconv.quantization.recipes.adaround import WIDEST
from fxconv.quantization.recipes.bias_absorption import Absorbed
from fxconv.quantization.recipes.equalization import Equalized
from fxconv.quantization.trained_weights import Trained

# Images that `auto` judges by, at most.
JUDGED = 16
# What a measurement on so few images may be off by, in decibels.
_NOISE = 1.0
# Layers that a warning names.
_NAMED = 3
# Above this many parameters a trial costs more time and memory than most have.
LARGEST = 100_000_000

STEPS: dict[Recipe, str] = {
    Recipe.equalization: "channels that use little of a range are scaled up, and down again in the next layer",
    Recipe.bias_absorption: "what a channel always carries is moved into the biases of the layers that read it",
    Recipe.reader_ranges: "each activation's range is the one of three that disturbs the layers reading it least",
    Recipe.bias_correction: "biases take up the mean error that rounded weights make",
    Recipe.weight_ranges: "weights' ranges are cut where that lessens the squared error",
    Recipe.adaround: "each weight is rounded up or down as changes the layer's output least",
}
"""What each step does, in the order in which they are taken."""
TRIED = tuple(step for step in STEPS if step is not Recipe.adaround)
"""What `auto` tries; the last step takes long, and is taken only when it is asked for."""
CHANGING = frozenset({Recipe.equalization, Recipe.bias_absorption})
BEFORE_TRAINING = frozenset(STEPS) - TRAINED_AWAY
"""What goes with training, which finds better weights and biases than the others."""
# Those go by the extremes of each channel, which fewer images than this do not show: a channel that happened to be
# quiet is scaled up, and the next image saturates it. With 1 photograph that costs mobilenet_v2 12 dB, with 10 up to 2.
FEWEST = 32
# What they are tried on, to save time; the others are tried on all: one image in two hundred may widen a range.
TRIAL_IMAGES = 16


@dataclass(frozen=True)
class StepGain:
    """One step: whether it is part of the result, and what it was judged by.

    The SQNR in decibels and the share of equal answers, from 0 to 1 (None without class scores), with the steps chosen
    before it, and with it as well. `why_not` says what it was left out for.
    """

    step: Recipe
    is_applied: bool
    sqnr_before: float
    sqnr_after: float
    agreement_before: float | None
    agreement_after: float | None
    why_not: str = ""


@dataclass(frozen=True)
class ChosenRecipe:
    """The steps that int8 was made with; `gains` says how they were chosen, `images` on how many images of `source`.

    `reason` says why a step was not tried, when the recipe was `auto` and one was not; `is_unseen` whether calibration
    did not see those images. `trial_images` says on how many calibration images those of `CHANGING` were tried; the
    others and the result, whose likeness `sqnr_db` and `agreement` are, have the ranges of all. `changes` are what was
    done to the float module, whose function stays, and after them its training. `nearest` are layers that adaptive
    rounding was asked for and cannot treat.
    """

    steps: tuple[Recipe, ...] = ()
    gains: tuple[StepGain, ...] = ()
    images: int = 0
    source: str = ""
    is_unseen: bool = True
    reason: str = ""
    changes: tuple[Change, ...] = ()
    trial_images: int = 0
    sqnr_db: float | None = None
    agreement: float | None = None
    nearest: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know of what was asked for and not done."""
        if not self.nearest:
            return ()
        named = ", ".join(self.nearest[:_NAMED])
        more = f" and {len(self.nearest) - _NAMED} more" if len(self.nearest) > _NAMED else ""
        why = f"it treats no transposed or 3-D convolutions, and no layers of more than {WIDEST:,} inputs an output"
        return (f"adaround leaves {named}{more} rounded to nearest: {why}",)

    @property
    def keeping(self) -> tuple[Change, ...]:
        """The changes after which the float module computes what it did."""
        return tuple(one for one in self.changes if not isinstance(one, Trained))

    @property
    def is_trained(self) -> bool:
        """Whether the weights are those of a training."""
        return len(self.keeping) < len(self.changes)

    @property
    def equalized(self) -> tuple[Equalized, ...]:
        """The layers that were equalized."""
        return tuple(one for one in self.changes if isinstance(one, Equalized))

    @property
    def absorbed(self) -> tuple[Absorbed, ...]:
        """The layers whose channels were moved."""
        return tuple(one for one in self.changes if isinstance(one, Absorbed))

    @property
    def capped_channels(self) -> tuple[int, int]:
        """How many channels of a ReLU6 behind a layer that was equalized are scaled; and how many there are.

        Only those that never reach its cap may be.
        """
        scaled: dict[str, Tensor] = {}
        for one in self.equalized:
            for path in one.caps:
                scaled[path] = scaled.get(path, torch.zeros_like(one.scales).bool()) | (one.scales < 1)
        return sum(int(each.sum()) for each in scaled.values()), sum(map(len, scaled.values()))


def tried(
    judged: Callable[[tuple[Recipe, ...]], Similarity | None],
    candidates: Collection[Recipe] = TRIED,
    is_asked: bool = False,
) -> tuple[tuple[Recipe, ...], tuple[StepGain, ...]]:
    """The candidates that do not harm, each tried on top of those before; all of them where they are asked for.

    `judged` says how like float int8 is with some steps, None when there is no int8 module with them. Every step has a
    reason of its own to help, and a few images measure it to a decibel: a step is taken unless the outputs are
    further from float's than with fewer steps by more than that, or fewer answers are float's than with fewer steps by
    more than chance: than with any number of them, for many steps may each take a little.
    """
    steps: tuple[Recipe, ...] = ()
    now, gains = judged(()) or Similarity(), list[StepGain]()
    best = agreeing = now
    for step in STEPS:
        if step not in candidates:
            continue
        found = judged((*steps, step))
        if found is None:
            continue
        why_not = "" if is_asked else _why_not(best, agreeing, found)
        gain = now.sqnr_db, found.sqnr_db, now.agreement, found.agreement
        gains.append(StepGain(step, not why_not, *gain, why_not))
        if gains[-1].is_applied:
            steps, now = (*steps, step), found
            best = max(best, now, key=lambda one: one.sqnr_db)
            agreeing = max(agreeing, now, key=lambda one: one.agreement or 0.0)
    return steps, tuple(gains)


def _why_not(best: Similarity, agreeing: Similarity, found: Similarity) -> str:
    """What a step harms, in words; "" where it does not. The first two are the best so far, each in one measure."""
    if found.sqnr_db < best.sqnr_db - _NOISE:
        return f"SQNR falls from {best.sqnr_db:.1f} dB to {found.sqnr_db:.1f}"
    if _falls(agreeing, found):
        return f"same top-1 falls from {agreeing.same} to {found.same} of {found.asked}, more than chance explains"
    return ""


def _falls(before: Similarity, after: Similarity) -> bool:
    """Whether fewer answers are float's than chance alone explains."""
    if before.agreement is None or after.agreement is None:
        return False
    changed = max(1 - before.agreement, 1 / before.asked)
    return after.agreement < before.agreement - 2 * math.sqrt(changed / before.asked)
