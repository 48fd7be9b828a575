"""Quantizing one rewritten model with one set of steps after another, until the recipe is found."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, fx, nn

from fxconv import quantize, refusals, verify
from fxconv.absorption import Absorbed
from fxconv.audit import stop_of
from fxconv.calibration import CalibrationData
from fxconv.clock import Clock
from fxconv.config import Config, Mode, Recipe
from fxconv.equalization import Equalized
from fxconv.errors import ConversionError, UserError
from fxconv.held_out import HeldOut, held_out
from fxconv.inputs import InputForm
from fxconv.likeness import Likeness
from fxconv.observing import Seen
from fxconv.probe import likeness
from fxconv.ranges import Expected, expected_ranges
from fxconv.recipe import (
    BEFORE_TRAINING,
    CHANGING,
    FEWEST,
    JUDGED,
    LARGEST,
    TRIAL_IMAGES,
    TRIED,
    Chosen,
    StepGain,
    tried,
)
from fxconv.refusals import Adjustment
from rewrites import Rewritten
from rewrites.parts import graphs_in


@dataclass(frozen=True)
class Quantized:
    """An int8 module, or None where a kernel is foreseen to refuse; and what is refused, with the reasons.

    `rounded` are the layers whose weights are rounded adaptively, `nearest` those that should be and are not.
    `moves_ranges` says whether some range is another one for the sake of those that read it.
    """

    int8: nn.Module | None
    refused: Mapping[str, str]
    adjustments: tuple[Adjustment, ...] = ()
    ranges: dict[str, dict[str, Expected]] = field(default_factory=dict)
    rounded: frozenset[str] = frozenset()
    nearest: tuple[str, ...] = ()
    moves_ranges: bool = False

    def is_taken(self, refused: Collection[str]) -> bool:
        """Whether no kernel refuses it, but where that is known."""
        return self.int8 is not None and self.refused.keys() <= set(refused)


def quantized(
    rewritten: Rewritten,
    observed: nn.Module,
    seen: Seen,
    steps: Collection[Recipe],
    image: tuple[Any, ...],
    config: Config,
    clock: Clock,
) -> Quantized:
    """Quantize a calibrated module, in place, as far as the kernels take it."""
    moves_ranges = False
    if Recipe.reader_ranges in steps:
        with clock.step("recipe"):
            moves_ranges = seen.set_ranges(observed)
    foreseen = refusals.foresee(observed, config.engine)
    if foreseen.refused:
        return Quantized(None, foreseen.refused)
    with clock.step("audit"):
        smallest = foreseen.smallest_steps
        ranges = {path: expected_ranges(graph, smallest[path]) for path, graph in graphs_in(observed).items()}
    with clock.step("conversion"):
        grams, layers = dict[str, Tensor](), list[str]()
        if Recipe.adaround in steps:
            grams, layers = seen.input_grams(rewritten), quantize.int8_layers(observed)
        means = seen.means if Recipe.bias_correction in steps else {}
        int8 = quantize.convert_observed(observed, means, grams, clock.progress)
    refused = refusals.met(int8, image)
    gc.collect()  # a graph and its module refer to each other: the float weights would stay for long
    nearest = tuple(path for path in layers if path not in grams)
    return Quantized(int8, refused, foreseen.adjustments, ranges, frozenset(grams), nearest, moves_ranges)


_KINDS = {Recipe.equalization: Equalized, Recipe.bias_absorption: Absorbed}


class Trials:
    """One rewritten model, quantized with one set of steps after another.

    Steps that change the float module are tried on the first images of the calibration data alone, all on the same
    ones, so that one can be told from another; what is chosen is calibrated on all.
    """

    def __init__(
        self,
        rewritten: Rewritten,
        few: Seen,
        seen: Seen,
        refused: Mapping[str, str],
        run: Callable[..., tuple[nn.Module, Seen]],
        image: tuple[Any, ...],
        config: Config,
        clock: Clock,
    ) -> None:
        self.rewritten, self.refused, self.run = rewritten, refused, run
        self.image, self.config, self.clock = image, config, clock
        self.few, self.seen = few, seen
        self._changed: dict[frozenset[Recipe], Seen] = {}

    def changed(self, steps: Collection[Recipe]) -> Seen:
        """What calibration sees of the first images where these steps change the float module by what it saw of all."""
        wanted = CHANGING & set(steps)
        if not wanted:
            return self.few
        if wanted not in self._changed:
            with self.clock.step("recipe"):
                planned = self.seen.plan(self.rewritten, wanted, self.config.weight_scheme)
            self._changed[wanted] = self.few
            if planned:
                seen = self.run((), planned, self.few.calibration.images)[1]
                self._changed[wanted] = replace(seen, calibration=seen.calibration.beside(self.few.calibration))
        return self._changed[wanted]

    def whole(self, steps: Collection[Recipe]) -> Seen:
        """What calibration sees of all images with these steps."""
        few = self.changed(steps)
        if not few.planned or few.calibration.images >= self.seen.calibration.images:
            return few if few.planned else self.seen
        seen: Seen = self.run((), few.planned, None, few)[1]
        return seen

    def finds(self, steps: Collection[Recipe]) -> bool:
        """Whether each of the steps that change the float module finds something to change."""
        planned = self.changed(steps).planned
        return all(any(isinstance(one, _KINDS[step]) for one in planned) for step in CHANGING & set(steps))

    def made_of(self, seen: Seen, steps: tuple[Recipe, ...]) -> Quantized:
        """The model with these steps and ranges."""
        with self.clock.step("conversion"):
            observed = quantize.observe_again(self.rewritten.module, self.config, steps, seen.planned, seen.observers)
        return quantized(self.rewritten, observed, seen, steps, self.image, self.config, self.clock)


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
    form: InputForm,
    data: CalibrationData,
    config: Config,
    clock: Clock,
) -> tuple[Seen, Quantized, Chosen]:
    """What calibration saw, and the model quantized with the steps that `config` names, or with those that help.

    `plain` has none. What all images call for a kernel may refuse where it took what the first did.
    """
    if config.recipe == (Recipe.none,):
        return trials.seen, plain, Chosen()
    is_auto, reason = Recipe.auto in config.recipe, ""
    known = {step for step in TRIED if config.mode is not Mode.qat or step in BEFORE_TRAINING}
    candidates = known.intersection(config.steps)
    if is_auto and (reason := _not_tried(trials.rewritten)):
        if Recipe.adaround not in config.recipe:
            return trials.seen, plain, Chosen(reason=reason)
    elif is_auto:
        few = data.count < FEWEST
        candidates = known - (CHANGING if few else set())
        reason = f"{_names(CHANGING)} want at least {FEWEST} images to calibrate on" if few else ""
    with clock.step("recipe"):
        source, is_unseen, images = _to_judge_by(form, data)
        floating = quantize.fuse(trials.rewritten.module)
        original = verify.outputs(floating, images)

    def likeness_of(found: Quantized) -> Likeness | None:
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

    def changed(steps: tuple[Recipe, ...]) -> Likeness | None:
        if not trials.finds(steps):
            return None
        return likeness_of(trials.made_of(trials.changed(steps), (*steps, *beside)))

    def of_all(changes: tuple[Recipe, ...]) -> tuple[Seen, Quantized]:
        seen = trials.whole(changes)
        return seen, trials.made_of(seen, changes) if seen.planned else plain

    changes, gains = tuple[Recipe, ...](), tuple[StepGain, ...]()
    if changing := candidates & CHANGING:
        changes, gains = tried(changed, changing, is_asked=not is_auto)
    seen, base = of_all(changes)
    if is_auto and changes and not base.is_taken(trials.refused):  # a kernel refuses what all images call for
        changes, gains = (), tuple(replace(gain, is_applied=False) for gain in gains)
        seen, base = of_all(())
    made, alike = {tuple[Recipe, ...](): base}, dict[tuple[Recipe, ...], Likeness | None]()

    def judged(steps: tuple[Recipe, ...]) -> Likeness | None:
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
        Chosen(
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
    return any(stop_of(int8, image) is not None for image in images)


def _not_tried(rewritten: Rewritten) -> str:
    """Why `auto` tries nothing on this model; empty when it does."""
    if not isinstance(rewritten.module, fx.GraphModule):
        return "the model is converted in parts, each trial of which would take long; name steps to have them"
    parameters = sum(parameter.numel() for parameter in rewritten.module.parameters())
    if parameters > LARGEST:
        return f"a trial of {parameters:,} parameters would take long; name steps to have them"
    return ""


def _to_judge_by(form: InputForm, data: CalibrationData) -> tuple[str, bool, list[tuple[Any, ...]]]:
    """The source of a few images, whether calibration did not see them, and each as arguments."""
    others = held_out(data, JUDGED)
    try:
        images = others.data.examples(JUDGED)
    except UserError:  # none of those left over can be read
        others = HeldOut(data, False)
        images = data.examples(JUDGED)
    return others.data.source, others.is_unseen, [form.arguments(image) for image in images]
