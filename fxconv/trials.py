"""Quantizing one rewritten model with one set of steps after another, until the recipe is found."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx, nn

from fxconv import quantize, refusals, verify
from fxconv.absorption import Absorbed
from fxconv.audit import stop_of
from fxconv.calibration import CalibrationData
from fxconv.clock import Clock
from fxconv.config import Config, Recipe
from fxconv.equalization import Equalized
from fxconv.errors import ConversionError, UserError
from fxconv.held_out import HeldOut, held_out
from fxconv.inputs import InputForm
from fxconv.likeness import Likeness
from fxconv.observing import Seen
from fxconv.probe import likeness
from fxconv.ranges import Expected, expected_ranges
from fxconv.recipe import CHANGING, FEWEST, JUDGED, LARGEST, TRIAL_IMAGES, TRIED, Chosen, StepGain, tried
from fxconv.refusals import Adjustment
from rewrites import Rewritten
from rewrites.parts import graphs_in


@dataclass(frozen=True)
class Quantized:
    """An int8 module, or None where a kernel is foreseen to refuse; and what is refused, with the reasons."""

    int8: nn.Module | None
    refused: Mapping[str, str]
    adjustments: tuple[Adjustment, ...] = ()
    ranges: dict[str, dict[str, Expected]] = field(default_factory=dict)


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
    if Recipe.reader_ranges in steps:
        with clock.step("recipe"):
            seen.set_ranges(observed)
    foreseen = refusals.foresee(observed, config.engine)
    if foreseen.refused:
        return Quantized(None, foreseen.refused)
    with clock.step("audit"):
        smallest = foreseen.smallest_steps
        ranges = {path: expected_ranges(graph, smallest[path]) for path, graph in graphs_in(observed).items()}
    with clock.step("conversion"):
        grams = seen.input_grams(rewritten) if Recipe.adaround in steps else {}
        means = seen.means if Recipe.bias_correction in steps else {}
        int8 = quantize.convert_observed(observed, means, grams, clock.progress)
    refused = refusals.met(int8, image)
    gc.collect()  # a graph and its module refer to each other: the float weights would stay for long
    return Quantized(int8, refused, foreseen.adjustments, ranges)


class Trials:
    """One rewritten model, quantized with one set of steps after another."""

    def __init__(
        self,
        rewritten: Rewritten,
        seen: Seen,
        refused: Mapping[str, str],
        run: Callable[..., tuple[nn.Module, Seen]],
        image: tuple[Any, ...],
        config: Config,
        clock: Clock,
    ) -> None:
        self.rewritten, self.refused, self.run = rewritten, refused, run
        self.image, self.config, self.clock = image, config, clock
        self._plain = seen
        self._changed: dict[tuple[frozenset[Recipe], int], Seen] = {}

    @property
    def images(self) -> int:
        """How many images calibration saw."""
        return self._plain.calibration.images

    def seen_with(self, steps: Collection[Recipe], most: int | None = None) -> Seen:
        """What calibration saw; with steps that change the float module it is run anew, on `most` of the images."""
        wanted, count = CHANGING & set(steps), min(most or self.images, self.images)
        if not wanted:
            return self._plain
        if (wanted, count) not in self._changed:
            before = next((seen for (steps, _), seen in self._changed.items() if steps == wanted), None)
            if before is None:
                planned = self._plain.plan(self.rewritten, wanted, self.config.weight_scheme)
            else:
                planned = before.planned
            self._changed[wanted, count] = self.run((), planned, count, before)[1] if planned else self._plain
        return self._changed[wanted, count]

    def made(self, steps: tuple[Recipe, ...], most: int | None = None) -> Quantized | None:
        """The model with these steps; None when one finds nothing to change, or a kernel refuses the ranges.

        Where steps change the float module calibration is run anew, on `most` of the images.
        """
        seen = self.seen_with(steps, most)
        kinds = {Recipe.equalization: Equalized, Recipe.bias_absorption: Absorbed}
        if any(not any(isinstance(one, kinds[step]) for one in seen.planned) for step in CHANGING & set(steps)):
            return None
        with self.clock.step("conversion"):
            observed = quantize.observe_again(self.rewritten.module, self.config, steps, seen.planned, seen.observers)
        made = quantized(self.rewritten, observed, seen, steps, self.image, self.config, self.clock)
        return made if made.int8 is not None and made.refused.keys() <= self.refused.keys() else None


_WHY_NOT = "a kernel refuses the ranges it makes, or nothing in it can be changed so"


def by_recipe(
    trials: Trials,
    plain: Quantized,
    form: InputForm,
    data: CalibrationData,
    config: Config,
    clock: Clock,
) -> tuple[Quantized, Chosen]:
    """The model quantized with the steps that `config` names, or with those that help; `plain` has none."""
    if config.recipe == (Recipe.none,):
        return plain, Chosen()
    is_auto, reason = Recipe.auto in config.recipe, ""
    candidates: set[Recipe] = set(config.steps).intersection(TRIED)
    if is_auto and (reason := _not_tried(trials.rewritten)):
        if Recipe.adaround not in config.recipe:
            return plain, Chosen(reason=reason)
    elif is_auto:
        few = trials.images < FEWEST
        candidates = set[Recipe](TRIED) - (CHANGING if few else set())
        reason = f"{_names(CHANGING)} want at least {FEWEST} images to calibrate on" if few else ""
    with clock.step("recipe"):
        source, is_unseen, images = _to_judge_by(form, data)
        floating = quantize.fuse(trials.rewritten.module)
        original = verify.outputs(floating, images)
    made: dict[tuple[Recipe, ...], Quantized] = {(): plain}

    def likeness_of(found: Quantized) -> Likeness:
        assert found.int8 is not None
        with clock.step("recipe"):
            return likeness(floating, found.int8, images, original)

    def judged(steps: tuple[Recipe, ...]) -> Likeness | None:
        found = made.get(steps) or trials.made(steps, TRIAL_IMAGES)
        if found is None or found.int8 is None:
            return None
        made[steps] = found
        try:
            return likeness_of(found)
        except RuntimeError:  # a kernel that refuses is named when the audit runs it
            if _refuses(found.int8, images):
                return None
            raise

    steps, gains = tried(judged, candidates, is_asked=not is_auto)
    if refused := set(config.steps) & set(TRIED) - set(steps):
        raise ConversionError(f"--recipe {_names(refused)}: {_WHY_NOT}; leave it out")
    result = made[steps]
    if CHANGING & set(steps) and trials.images > TRIAL_IMAGES:
        whole = trials.made(steps)
        if whole is None:  # what all images call for is refused, and what some did was not
            if not is_auto:
                raise ConversionError(f"--recipe {_names(CHANGING & set(steps))}: {_WHY_NOT}; leave it out")
            steps = tuple(step for step in steps if step not in CHANGING)
            gains = tuple(replace(gain, is_applied=gain.step in steps) for gain in gains)
        result = whole or made[steps]
    planned = trials.seen_with(steps).planned
    if Recipe.adaround in config.recipe:
        before, steps = likeness_of(result), (*steps, Recipe.adaround)
        rounded = trials.made(steps)
        if rounded is None:
            raise ConversionError(f"--recipe adaround: {_WHY_NOT}; leave it out")
        after, result = likeness_of(rounded), rounded
        gain = before.sqnr_db, after.sqnr_db, before.agreement, after.agreement
        gains = (*gains, StepGain(Recipe.adaround, True, *gain))
    return result, Chosen(steps, gains, len(images), source, is_unseen, reason, planned)


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
