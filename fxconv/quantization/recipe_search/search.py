"""The search for the steps of a recipe that help, or those asked for by name."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from torch import fx

from fxconv.config import Config, Mode, Recipe
from fxconv.data.calibration import CalibrationData
from fxconv.errors import ConversionError
from fxconv.measures.similarity import Similarity
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from fxconv.quantization.calibrate import CalibrationStatistics
from fxconv.quantization.convert import ConvertedModule
from fxconv.quantization.recipe_search.float_answers import FloatAnswers
from fxconv.quantization.recipe_search.recipe import (
    BEFORE_TRAINING,
    CHANGING,
    FEWEST,
    LARGEST,
    TRIAL_IMAGES,
    TRIED,
    ChosenRecipe,
    StepGain,
    tried,
)
from fxconv.quantization.recipe_search.trials import Trials
from rewrites import Rewritten

# Values of an image of which a few are enough.
_LARGE = 3 * 224 * 224
_WHY_NOT = "a kernel refuses the ranges it makes, or nothing in it can be changed so"


def first_images(rewritten: Rewritten, config: Config, images: int, values: int) -> int | None:
    """How many of so many images, of so many values each, come first, for trials; None for all.

    Of small images that is more: they take no time, and have little in them.
    """
    is_tried = Recipe.auto in config.recipe or CHANGING & set(config.recipe)
    few = max(TRIAL_IMAGES, math.ceil(TRIAL_IMAGES * _LARGE / values))
    return few if is_tried and few < images >= FEWEST and not _not_tried(rewritten) else None


@dataclass(frozen=True)
class _Found:
    """How far the search has come: the model with the steps taken so far, and how they were chosen.

    `statistics` is what calibration saw with the steps that change the float module, `alike` how like float int8
    answers, where that was asked.
    """

    statistics: CalibrationStatistics
    made: ConvertedModule
    steps: tuple[Recipe, ...] = ()
    gains: tuple[StepGain, ...] = ()
    alike: Similarity | None = None


def by_recipe(
    trials: Trials,
    plain: ConvertedModule,
    signature: InputSignature,
    data: CalibrationData,
    config: Config,
    clock: Clock,
) -> tuple[CalibrationStatistics, ConvertedModule, ChosenRecipe]:
    """What calibration saw, and the model quantized with the steps that `config` names, or with those that help.

    `plain` has none. What all images call for a kernel may refuse where it took what the first did.
    """
    if config.recipe == (Recipe.none,):
        return trials.statistics, plain, ChosenRecipe()
    candidates, reason = _candidates(trials.rewritten, data.count, config)
    if not candidates and Recipe.adaround not in config.recipe:
        return trials.statistics, plain, ChosenRecipe(reason=reason)
    answers = FloatAnswers.of(trials.rewritten, signature, data, trials.refused, clock)
    is_asked = Recipe.auto not in config.recipe
    changing, ranging = CHANGING & candidates, candidates - CHANGING
    trials.most = (len(changing) + 1 if changing else 0) + len(ranging) + 1  # each with one without any step
    found = _changed(trials, plain, answers, candidates, is_asked)
    found = _ranged(trials, found, answers, ranging, is_asked)
    if is_asked and found.made.is_taken(trials.refused) and (missing := candidates - set(found.steps)):
        raise ConversionError(f"--recipe {_names(missing)}: {_WHY_NOT}; leave it out")
    if Recipe.adaround in config.recipe:
        found = _rounded(trials, found, answers)
    return found.statistics, found.made, _told(found, answers, reason, trials.few.calibration.images)


def _candidates(rewritten: Rewritten, images: int, config: Config) -> tuple[frozenset[Recipe], str]:
    """The steps to try on a model calibrated on so many images; and why `auto` tries none, or not all."""
    known = frozenset(step for step in TRIED if config.mode is not Mode.qat or step in BEFORE_TRAINING)
    if Recipe.auto not in config.recipe:
        return known.intersection(config.steps), ""
    if reason := _not_tried(rewritten):
        return frozenset(), reason
    if images < FEWEST:
        return known - CHANGING, f"{_names(CHANGING)} want at least {FEWEST} images to calibrate on"
    return known, ""


def _changed(
    trials: Trials, plain: ConvertedModule, answers: FloatAnswers, candidates: Collection[Recipe], is_asked: bool
) -> _Found:
    """With those of the candidates that change the float module: tried on the first images, calibrated on all."""
    # what takes little time goes with those that are tried on few images: one alone may seem to harm
    beside = tuple(step for step in (Recipe.bias_correction, Recipe.weight_ranges) if step in candidates)

    def judged(steps: tuple[Recipe, ...]) -> Similarity | None:
        trials.begin()
        if not trials.finds(steps):
            return None
        return answers.similarity_of(trials.made_of(trials.changed(steps), (*steps, *beside)))

    steps, gains = tuple[Recipe, ...](), tuple[StepGain, ...]()
    if changing := CHANGING.intersection(candidates):
        steps, gains = tried(judged, changing, is_asked)
    found = _calibrated(trials, plain, steps, gains)
    if not is_asked and steps and not found.made.is_taken(trials.refused):  # a kernel refuses what all images call for
        return _calibrated(trials, plain, (), tuple(replace(gain, is_applied=False) for gain in gains))
    return found


def _calibrated(
    trials: Trials, plain: ConvertedModule, steps: tuple[Recipe, ...], gains: tuple[StepGain, ...]
) -> _Found:
    """With the ranges that all images call for when these steps change the float module."""
    statistics = trials.whole(steps)
    return _Found(statistics, trials.made_of(statistics, steps) if statistics.planned else plain, steps, gains)


def _ranged(
    trials: Trials, base: _Found, answers: FloatAnswers, candidates: Collection[Recipe], is_asked: bool
) -> _Found:
    """With those of the candidates, too, that leave the float module alone: tried with the ranges of all images."""
    made, alike = {tuple[Recipe, ...](): base.made}, dict[tuple[Recipe, ...], Similarity | None]()

    def judged(steps: tuple[Recipe, ...]) -> Similarity | None:
        trials.begin()
        if steps:
            for other in made.keys() - {steps[:-1]}:  # which were not taken
                del made[other]
            made[steps] = trials.made_of(base.statistics, (*base.steps, *steps))
            if not is_asked and steps[-1] is Recipe.reader_ranges and not made[steps].moves_ranges:
                return None
        alike[steps] = answers.similarity_of(made[steps])
        return alike[steps]

    steps, gains = tried(judged, candidates, is_asked)
    return _Found(base.statistics, made[steps], (*base.steps, *steps), (*base.gains, *gains), alike[steps])


def _rounded(trials: Trials, base: _Found, answers: FloatAnswers) -> _Found:
    """With adaptive rounding, too, whose gain is told and not judged: it was asked for."""
    steps = (*base.steps, Recipe.adaround)
    if not base.made.is_taken(trials.refused):
        return replace(base, steps=steps, alike=None)
    made = trials.made_of(base.statistics, steps)
    before, after, gains = base.alike, answers.similarity_of(made), base.gains
    if before is not None and after is not None:
        gain = before.sqnr_db, after.sqnr_db, before.agreement, after.agreement
        gains = (*gains, StepGain(Recipe.adaround, True, *gain))
    return _Found(base.statistics, made, steps, gains, after)


def _told(found: _Found, answers: FloatAnswers, reason: str, trial_images: int) -> ChosenRecipe:
    """What the report says of the search."""
    alike = found.alike
    return ChosenRecipe(
        steps=found.steps,
        gains=found.gains,
        images=len(answers.images),
        source=answers.source,
        is_unseen=answers.is_unseen,
        reason=reason,
        changes=found.statistics.planned,
        trial_images=trial_images,
        sqnr_db=alike.sqnr_db if alike is not None else None,
        agreement=alike.agreement if alike is not None else None,
        nearest=found.made.nearest,
    )


def _names(steps: Collection[Recipe]) -> str:
    return ", ".join(sorted(step.value for step in steps))


def _not_tried(rewritten: Rewritten) -> str:
    """Why `auto` tries nothing on this model; empty when it does."""
    if not isinstance(rewritten.module, fx.GraphModule):
        return "the model is converted in parts, each trial of which would take long; name steps to have them"
    parameters = sum(parameter.numel() for parameter in rewritten.module.parameters())
    if parameters > LARGEST:
        return f"a trial of {parameters:,} parameters would take long; name steps to have them"
    return ""
