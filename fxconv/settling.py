"""From a model to an int8 module that every kernel takes: rewritten, calibrated and quantized, as often as it takes."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, fx, nn

from fxconv import keep_float, quantize, refusals, verify
from fxconv.absorption import Absorbed
from fxconv.audit import stop_of
from fxconv.calibration import Calibration, CalibrationData
from fxconv.clock import Clock
from fxconv.config import Config, Recipe
from fxconv.equalization import Equalized
from fxconv.errors import ConversionError, UserError
from fxconv.held_out import HeldOut, held_out
from fxconv.inputs import InputForm
from fxconv.likeness import Likeness
from fxconv.observing import Seen, must_be_single, observe_images
from fxconv.passes import rewrite_with
from fxconv.probe import likeness
from fxconv.ranges import Expected, expected_ranges
from fxconv.recipe import CHANGING, FEWEST, JUDGED, LARGEST, TRIAL_IMAGES, TRIED, Chosen, StepGain, tried
from fxconv.refusals import Adjustment
from rewrites import RewritePass, Rewritten
from rewrites.parts import graphs_in


@dataclass(frozen=True)
class Settled:
    """An int8 module that every kernel takes, what it was made of, and the ranges that calibration called for.

    `means` are those of the layers' inputs by which biases were corrected; none when they were not.
    """

    rewritten: Rewritten
    calibration: Calibration
    adjustments: tuple[Adjustment, ...]
    ranges: dict[str, dict[str, Expected]]
    int8: nn.Module
    recipe: Chosen = field(default_factory=Chosen)
    means: Mapping[str, Tensor] = field(default_factory=dict)

    def floating(self) -> nn.Module:
        """The fused float module that int8 was made of: changed as the recipe has it, its biases not corrected."""
        return quantize.fuse(self.rewritten.module, self.recipe.changes)


def settle(
    model: nn.Module,
    rules: Sequence[RewritePass],
    form: InputForm,
    data: CalibrationData,
    image: tuple[Any, ...],
    config: Config,
    clock: Clock,
    kept: Mapping[str, str] | None = None,
    steps: tuple[Recipe, ...] | None = None,
) -> Settled:
    """Rewrite, calibrate and quantize, again and with more in float until no kernel refuses what it is given.

    What goes to float changes its neighbours, and their ranges. `kept` are the operations that the user wants in float,
    and why; those that `config` names unless given. `steps` of a recipe are taken as they are; unless given they are
    chosen as `config` says, and judged.
    """
    refused = dict(kept or {})
    if config.keep_float and kept is None:
        with clock.step("rewriting"):
            plain = rewrite_with(model, rules, image, share_parameters=True)
            refused.update(keep_float.chosen(plain, config.keep_float))
    while True:
        with clock.step("rewriting"):
            passes = refusals.keeping_float(rules, refused)
            rewritten = rewrite_with(model, passes, image, share_parameters=True)
        with clock.step("verification"):
            singly = must_be_single(model, rewritten, form, data)
        run = functools.partial(observe_images, model, rewritten, form, data, singly, config, clock)
        observed, seen = run(steps or ())
        if steps and CHANGING & set(steps):
            observed, seen = run(steps, seen.plan(rewritten, steps, config.weight_scheme))
        found = refusals.never_reached(observed)
        if not found:
            made = _quantized(rewritten, observed, seen, steps or (), image, config, clock)
            found = dict(made.refused)
            if made.int8 is not None and found.keys() <= refused.keys():
                break
        if found.keys() <= refused.keys():
            where, why = next(iter(found.items()))
            raise ConversionError(f"{where} cannot be kept in float, although it must be: {why}")
        refused.update(found)
    calibration, recipe = seen.calibration, Chosen(steps or (), changes=seen.planned)
    if steps is None:
        trials = _Trials(rewritten, seen, refused, run, image, config, clock)
        made, recipe = _by_recipe(trials, made, form, data, config, clock)
        seen = trials.seen_with(recipe.steps)
    assert made.int8 is not None
    used = seen.means if Recipe.bias_correction in recipe.steps else {}
    return Settled(rewritten, calibration, made.adjustments, made.ranges, made.int8, recipe, used)


@dataclass(frozen=True)
class _Quantized:
    """An int8 module, or None where a kernel is foreseen to refuse; and what is refused, with the reasons."""

    int8: nn.Module | None
    refused: Mapping[str, str]
    adjustments: tuple[Adjustment, ...] = ()
    ranges: dict[str, dict[str, Expected]] = field(default_factory=dict)


def _quantized(
    rewritten: Rewritten,
    observed: nn.Module,
    seen: Seen,
    steps: Collection[Recipe],
    image: tuple[Any, ...],
    config: Config,
    clock: Clock,
) -> _Quantized:
    """Quantize a calibrated module, in place, as far as the kernels take it."""
    if Recipe.reader_ranges in steps:
        with clock.step("recipe"):
            seen.set_ranges(observed)
    foreseen = refusals.foresee(observed, config.engine)
    if foreseen.refused:
        return _Quantized(None, foreseen.refused)
    with clock.step("audit"):
        smallest = foreseen.smallest_steps
        ranges = {path: expected_ranges(graph, smallest[path]) for path, graph in graphs_in(observed).items()}
    with clock.step("conversion"):
        grams = seen.input_grams(rewritten) if Recipe.adaround in steps else {}
        means = seen.means if Recipe.bias_correction in steps else {}
        int8 = quantize.convert_observed(observed, means, grams, clock.progress)
    refused = refusals.met(int8, image)
    gc.collect()  # a graph and its module refer to each other: the float weights would stay for long
    return _Quantized(int8, refused, foreseen.adjustments, ranges)


class _Trials:
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

    def made(self, steps: tuple[Recipe, ...], most: int | None = None) -> _Quantized | None:
        """The model with these steps; None when one finds nothing to change, or a kernel refuses the ranges.

        Where steps change the float module calibration is run anew, on `most` of the images.
        """
        seen = self.seen_with(steps, most)
        kinds = {Recipe.equalization: Equalized, Recipe.bias_absorption: Absorbed}
        if any(not any(isinstance(one, kinds[step]) for one in seen.planned) for step in CHANGING & set(steps)):
            return None
        with self.clock.step("conversion"):
            observed = quantize.observe_again(self.rewritten.module, self.config, steps, seen.planned, seen.observers)
        made = _quantized(self.rewritten, observed, seen, steps, self.image, self.config, self.clock)
        return made if made.int8 is not None and made.refused.keys() <= self.refused.keys() else None


_WHY_NOT = "a kernel refuses the ranges it makes, or no layer in it is read by another one alone"


def _by_recipe(
    trials: _Trials,
    plain: _Quantized,
    form: InputForm,
    data: CalibrationData,
    config: Config,
    clock: Clock,
) -> tuple[_Quantized, Chosen]:
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
        reason = f"{', '.join(sorted(CHANGING))} want at least {FEWEST} images to calibrate on" if few else ""
    with clock.step("recipe"):
        source, is_unseen, images = _to_judge_by(form, data)
        floating = quantize.fuse(trials.rewritten.module)
        original = verify.outputs(floating, images)
    made: dict[tuple[Recipe, ...], _Quantized] = {(): plain}

    def _likeness_of(found: _Quantized) -> Likeness:
        assert found.int8 is not None
        with clock.step("recipe"):
            return likeness(floating, found.int8, images, original)

    def judged(steps: tuple[Recipe, ...]) -> Likeness | None:
        found = made.get(steps) or trials.made(steps, TRIAL_IMAGES)
        if found is None or found.int8 is None:
            return None
        made[steps] = found
        try:
            return _likeness_of(found)
        except RuntimeError:  # a kernel that refuses is named when the audit runs it
            if _refuses(found.int8, images):
                return None
            raise

    steps, gains = tried(judged, candidates, is_asked=not is_auto)
    if refused := set(config.steps) & set(TRIED) - set(steps):
        names = ", ".join(sorted(step.value for step in refused))
        raise ConversionError(f"--recipe {names}: {_WHY_NOT}; leave it out")
    result = made[steps]
    if CHANGING & set(steps) and trials.images > TRIAL_IMAGES:
        whole = trials.made(steps)
        if whole is None:  # what all images call for is refused, and what some did was not
            steps = tuple(step for step in steps if step not in CHANGING)
            gains = tuple(replace(gain, is_applied=gain.step in steps) for gain in gains)
        result = whole or made[steps]
    planned = trials.seen_with(steps).planned
    if Recipe.adaround in config.recipe:
        before, steps = _likeness_of(result), (*steps, Recipe.adaround)
        rounded = trials.made(steps)
        if rounded is None:
            raise ConversionError(f"--recipe adaround: {_WHY_NOT}; leave it out")
        after, result = _likeness_of(rounded), rounded
        gain = before.sqnr_db, after.sqnr_db, before.agreement, after.agreement
        gains = (*gains, StepGain(Recipe.adaround, True, *gain))
    return result, Chosen(steps, gains, len(images), source, is_unseen, reason, planned)


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
