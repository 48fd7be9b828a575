"""Quantizing one rewritten model with one set of steps after another, until the recipe is found."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, fx, nn

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
from fxconv.recipe import CHANGING, FEWEST, JUDGED, LARGEST, TRIED, Chosen, StepGain, tried
from fxconv.refusals import Adjustment
from rewrites import Rewritten
from rewrites.parts import graphs_in


@dataclass(frozen=True)
class Quantized:
    """An int8 module, or None where a kernel is foreseen to refuse; and what is refused, with the reasons.

    `rounded` are the layers whose weights are rounded adaptively, `nearest` those that should be and are not.
    """

    int8: nn.Module | None
    refused: Mapping[str, str]
    adjustments: tuple[Adjustment, ...] = ()
    ranges: dict[str, dict[str, Expected]] = field(default_factory=dict)
    rounded: frozenset[str] = frozenset()
    nearest: tuple[str, ...] = ()


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
        grams, layers = dict[str, Tensor](), list[str]()
        if Recipe.adaround in steps:
            grams, layers = seen.input_grams(rewritten), quantize.int8_layers(observed)
        means = seen.means if Recipe.bias_correction in steps else {}
        int8 = quantize.convert_observed(observed, means, grams, clock.progress)
    refused = refusals.met(int8, image)
    gc.collect()  # a graph and its module refer to each other: the float weights would stay for long
    nearest = tuple(path for path in layers if path not in grams)
    return Quantized(int8, refused, foreseen.adjustments, ranges, frozenset(grams), nearest)


class Trials:
    """One rewritten model, quantized with one set of steps after another.

    Trials go by the first images of the calibration data alone, all by the same ones, so that one can be told from
    another; what is chosen is calibrated on all.
    """

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
        self._changed: dict[frozenset[Recipe], Seen] = {}

    @property
    def images(self) -> int:
        """How many images the trials are calibrated on."""
        return self._plain.calibration.images

    def seen_with(self, steps: Collection[Recipe]) -> Seen:
        """What calibration saw; with steps that change the float module it is run anew."""
        wanted = CHANGING & set(steps)
        if not wanted:
            return self._plain
        if wanted not in self._changed:
            with self.clock.step("recipe"):
                planned = self._plain.plan(self.rewritten, wanted, self.config.weight_scheme)
            self._changed[wanted] = self._plain
            if planned:
                seen = self.run((), planned, self.images)[1]
                calibration = seen.calibration.beside(self._plain.calibration)
                self._changed[wanted] = replace(seen, calibration=calibration)
        return self._changed[wanted]

    def whole(self, steps: Collection[Recipe]) -> Seen:
        """What calibration sees of all images with these steps."""
        few = self.seen_with(steps)
        seen: Seen = self.run((), few.planned, None, few)[1]
        return seen

    def made(self, steps: tuple[Recipe, ...]) -> Quantized | None:
        """The model with these steps; None when one finds nothing to change, or a kernel refuses the ranges."""
        seen = self.seen_with(steps)
        kinds = {Recipe.equalization: Equalized, Recipe.bias_absorption: Absorbed}
        if any(not any(isinstance(one, kinds[step]) for one in seen.planned) for step in CHANGING & set(steps)):
            return None
        made = self.made_of(seen, steps)
        return made if self.is_taken(made) else None

    def made_of(self, seen: Seen, steps: tuple[Recipe, ...]) -> Quantized:
        """The model with these steps and ranges."""
        with self.clock.step("conversion"):
            observed = quantize.observe_again(self.rewritten.module, self.config, steps, seen.planned, seen.observers)
        return quantized(self.rewritten, observed, seen, steps, self.image, self.config, self.clock)

    def is_taken(self, made: Quantized) -> bool:
        """Whether no kernel refuses it, but where that is known."""
        return made.int8 is not None and made.refused.keys() <= self.refused.keys()


_WHY_NOT = "a kernel refuses the ranges it makes, or nothing in it can be changed so"


def first_images(rewritten: Rewritten, config: Config) -> int | None:
    """How many images trials are calibrated on; None for all, where there are no trials to save time in."""
    return None if config.recipe == (Recipe.none,) or _not_tried(rewritten) else FEWEST


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
        return trials.seen_with(()), plain, Chosen()
    is_auto, reason = Recipe.auto in config.recipe, ""
    candidates: set[Recipe] = set(config.steps).intersection(TRIED)
    if is_auto and (reason := _not_tried(trials.rewritten)):
        if Recipe.adaround not in config.recipe:
            return trials.seen_with(()), plain, Chosen(reason=reason)
    elif is_auto:
        few = data.count < FEWEST
        candidates = set[Recipe](TRIED) - (CHANGING if few else set())
        reason = f"{_names(CHANGING)} want at least {FEWEST} images to calibrate on" if few else ""
    with clock.step("recipe"):
        source, is_unseen, images = _to_judge_by(form, data)
        floating = quantize.fuse(trials.rewritten.module)
        original = verify.outputs(floating, images)
    made: dict[tuple[Recipe, ...], Quantized] = {(): plain}

    def likeness_of(found: Quantized) -> Likeness | None:
        assert found.int8 is not None
        try:
            with clock.step("recipe"):
                return likeness(floating, found.int8, images, original)
        except RuntimeError:  # a kernel that refuses is named when the audit runs it
            if _refuses(found.int8, images):
                return None
            raise

    def judged(steps: tuple[Recipe, ...]) -> Likeness | None:
        found = made.get(steps) or trials.made(steps)
        if found is None:
            return None
        for other in made.keys() - {steps[:-1]}:  # which were not taken
            del made[other]
        made[steps] = found
        return likeness_of(found)

    steps, gains = tried(judged, candidates, is_asked=not is_auto)
    if refused := set(config.steps) & set(TRIED) - set(steps):
        raise ConversionError(f"--recipe {_names(refused)}: {_WHY_NOT}; leave it out")
    seen, result = trials.seen_with(steps), made[steps]
    if seen.calibration.images < data.count:
        seen = trials.whole(steps)
        result = trials.made_of(seen, steps)
        if is_auto and CHANGING & set(steps) and not trials.is_taken(result):
            steps = tuple(step for step in steps if step not in CHANGING)
            gains = tuple(replace(gain, is_applied=gain.step in steps) for gain in gains)
            seen = trials.whole(steps)
            result = trials.made_of(seen, steps)
    final = likeness_of(result) if trials.is_taken(result) else None
    if Recipe.adaround in config.recipe:
        steps, before, final = (*steps, Recipe.adaround), final, None
        if trials.is_taken(result):
            result = trials.made_of(seen, steps)
            final = likeness_of(result) if trials.is_taken(result) else None
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
            trials.images,
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
