"""The search for the steps of a recipe that help, or those asked for by name."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from torch import fx, nn

from fxconv.config import Config, Mode, Recipe
from fxconv.data.calibration import CalibrationData
from fxconv.data.held_out import HeldOut, held_out
from fxconv.errors import ConversionError, UserError
from fxconv.measures.model_similarity import likeness
from fxconv.measures.similarity import Similarity
from fxconv.models import forward
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from fxconv.quantization import fusion
from fxconv.quantization.calibrate import CalibrationStatistics
from fxconv.quantization.convert import Quantized
from fxconv.quantization.failing_operation import failing_operation
from fxconv.quantization.recipe_search.recipe import (
    BEFORE_TRAINING,
    CHANGING,
    FEWEST,
    JUDGED,
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


def by_recipe(
    trials: Trials,
    plain: Quantized,
    form: InputSignature,
    data: CalibrationData,
    config: Config,
    clock: Clock,
) -> tuple[CalibrationStatistics, Quantized, ChosenRecipe]:
    """What calibration saw, and the model quantized with the steps that `config` names, or with those that help.

    `plain` has none. What all images call for a kernel may refuse where it took what the first did.
    """
    if config.recipe == (Recipe.none,):
        return trials.seen, plain, ChosenRecipe()
    is_auto, reason = Recipe.auto in config.recipe, ""
    known = {step for step in TRIED if config.mode is not Mode.qat or step in BEFORE_TRAINING}
    candidates = known.intersection(config.steps)
    if is_auto and (reason := _not_tried(trials.rewritten)):
        if Recipe.adaround not in config.recipe:
            return trials.seen, plain, ChosenRecipe(reason=reason)
    elif is_auto:
        few = data.count < FEWEST
        candidates = known - (CHANGING if few else set())
        reason = f"{_names(CHANGING)} want at least {FEWEST} images to calibrate on" if few else ""
    with clock.step("recipe"):
        source, is_unseen, images = _to_judge_by(form, data)
        floating = fusion.fuse(trials.rewritten.module)
        original = forward.outputs(floating, images)

    def likeness_of(found: Quantized) -> Similarity | None:
        if found.int8 is None or not found.is_taken(trials.refused):
            return None
        try:
            with clock.step("recipe"):
                return likeness(floating, found.int8, images, original)
        except RuntimeError:  # a kernel that refuses is named when the audit runs it
            if _refuses(found.int8, images):
                return None
            raise

    # what takes little time goes with those that are tried on few images: one alone may seem to harm
    beside = tuple(step for step in (Recipe.bias_correction, Recipe.weight_ranges) if step in candidates)

    def changed(steps: tuple[Recipe, ...]) -> Similarity | None:
        if not trials.finds(steps):
            return None
        return likeness_of(trials.made_of(trials.changed(steps), (*steps, *beside)))

    def of_all(changes: tuple[Recipe, ...]) -> tuple[CalibrationStatistics, Quantized]:
        seen = trials.whole(changes)
        return seen, trials.made_of(seen, changes) if seen.planned else plain

    changes, gains = tuple[Recipe, ...](), tuple[StepGain, ...]()
    if changing := candidates & CHANGING:
        changes, gains = tried(changed, changing, is_asked=not is_auto)
    seen, base = of_all(changes)
    if is_auto and changes and not base.is_taken(trials.refused):  # a kernel refuses what all images call for
        changes, gains = (), tuple(replace(gain, is_applied=False) for gain in gains)
        seen, base = of_all(())
    made, alike = {tuple[Recipe, ...](): base}, dict[tuple[Recipe, ...], Similarity | None]()

    def judged(steps: tuple[Recipe, ...]) -> Similarity | None:
        if steps:
            for other in made.keys() - {steps[:-1]}:  # which were not taken
                del made[other]
            made[steps] = trials.made_of(seen, (*changes, *steps))
            if is_auto and steps[-1] is Recipe.reader_ranges and not made[steps].moves_ranges:
                return None
        alike[steps] = likeness_of(made[steps])
        return alike[steps]

    steps, more = tried(judged, candidates - CHANGING, is_asked=not is_auto)
    result, final = made[steps], alike[steps]
    steps, gains = (*changes, *steps), (*gains, *more)
    if result.is_taken(trials.refused) and (refused := candidates - set(steps)) and not is_auto:
        raise ConversionError(f"--recipe {_names(refused)}: {_WHY_NOT}; leave it out")
    if Recipe.adaround in config.recipe:
        steps, before, final = (*steps, Recipe.adaround), final, None
        if result.is_taken(trials.refused):
            result = trials.made_of(seen, steps)
            final = likeness_of(result)
        if before is not None and final is not None:
            gain = before.sqnr_db, final.sqnr_db, before.agreement, final.agreement
            gains = (*gains, StepGain(Recipe.adaround, True, *gain))
    return (
        seen,
        result,
        ChosenRecipe(
            steps,
            gains,
            len(images),
            source,
            is_unseen,
            reason,
            seen.planned,
            trials.few.calibration.images,
            final.sqnr_db if final is not None else None,
            final.agreement if final is not None else None,
            result.nearest,
        ),
    )


def _names(steps: Collection[Recipe]) -> str:
    return ", ".join(sorted(step.value for step in steps))


def _refuses(int8: nn.Module, images: Sequence[tuple[Any, ...]]) -> bool:
    """Whether a kernel of `int8` refuses to run on one of these images."""
    return any(failing_operation(int8, image) is not None for image in images)


def _not_tried(rewritten: Rewritten) -> str:
    """Why `auto` tries nothing on this model; empty when it does."""
    if not isinstance(rewritten.module, fx.GraphModule):
        return "the model is converted in parts, each trial of which would take long; name steps to have them"
    parameters = sum(parameter.numel() for parameter in rewritten.module.parameters())
    if parameters > LARGEST:
        return f"a trial of {parameters:,} parameters would take long; name steps to have them"
    return ""


def _to_judge_by(form: InputSignature, data: CalibrationData) -> tuple[str, bool, list[tuple[Any, ...]]]:
    """The source of a few images, whether calibration did not see them, and each as arguments."""
    others = held_out(data, JUDGED)
    try:
        images = others.data.examples(JUDGED)
    except UserError:  # none of those left over can be read
        others = HeldOut(data, False)
        images = data.examples(JUDGED)
    return others.data.source, others.is_unseen, [form.arguments(image) for image in images]
