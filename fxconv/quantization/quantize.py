"""From a model to an int8 module that every kernel takes: rewritten, calibrated and quantized, as often as it takes."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fxconv.config import Config, Recipe
from fxconv.data.calibration import Calibration
from fxconv.errors import ConversionError
from fxconv.quantization import fusion, keep_float, refusals
from fxconv.quantization.calibrate import IN_COMPANY, CalibrationStatistics, must_be_single, observe_images
from fxconv.quantization.coarse_ends import coarse_ends
from fxconv.quantization.convert import ConvertedModule, convert_calibrated
from fxconv.quantization.expected_ranges import Expected
from fxconv.quantization.fine_tuned import FineTuned
from fxconv.quantization.passes import rewrite_with
from fxconv.quantization.recipe_search.recipe import CHANGING, ChosenRecipe
from fxconv.quantization.recipe_search.search import by_recipe, first_images
from fxconv.quantization.recipe_search.trials import Trials
from fxconv.quantization.refusals import Adjustment
from fxconv.quantization.task import QuantizationTask
from rewrites import Rewritten


@dataclass(frozen=True)
class QuantizedModel:
    """An int8 module that every kernel takes, what it was made of, and the ranges that calibration called for.

    `means` are those of the layers' inputs by which biases were corrected, none when they were not; `rounded` are the
    layers whose weights were rounded adaptively; `statistics` is what its ranges were made of, `training` how its
    weights were fine-tuned, None when fxconv did not. `singly` says that images go through it one at a time.
    `refused` are the operations that stay in float, with the reasons, `biases` those added behind their layers.
    """

    rewritten: Rewritten
    calibration: Calibration
    adjustments: tuple[Adjustment, ...]
    ranges: dict[str, dict[str, Expected]]
    int8: nn.Module
    recipe: ChosenRecipe = field(default_factory=ChosenRecipe)
    means: Mapping[str, Tensor] = field(default_factory=dict)
    rounded: frozenset[str] = frozenset()
    statistics: CalibrationStatistics | None = None
    training: FineTuned | None = None
    singly: bool = False
    in_company: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)
    biases: Mapping[str, str] = field(default_factory=dict)

    def floating(self) -> nn.Module:
        """The fused float module that int8 was made of: changed as the recipe has it, its biases not corrected."""
        return fusion.fuse(self.rewritten.module, self.recipe.changes)

    def calibrated(self) -> nn.Module:
        """The same with the weights that it had when its ranges were found, before a training."""
        return fusion.fuse(self.rewritten.module, self.recipe.keeping)


def quantize(
    task: QuantizationTask, kept: Mapping[str, str] | None = None, steps: tuple[Recipe, ...] | None = None
) -> QuantizedModel:
    """Rewrite, calibrate and quantize, again and with more in float until no kernel refuses what it is given.

    What goes to float changes its neighbours, and their ranges. `kept` are the operations that the user wants in float,
    and why; those that the task's choices name unless given. `steps` of a recipe are taken as they are; unless given
    they are chosen as the choices say, and judged.
    """
    refused = dict(kept or {})
    if task.config.keep_float and kept is None:
        with task.clock.step("rewriting"):
            plain = rewrite_with(task.model, task.passes, task.image, share_parameters=True)
            refused.update(keep_float.chosen(plain, task.config.keep_float))
    recipe = ChosenRecipe(steps) if steps is not None else None
    singly: str | None = None
    seen, biases = None, dict[str, str]()
    while True:
        with task.clock.step("rewriting"):
            passes = refusals.keeping_float(task.passes, refused, biases)
            rewritten = rewrite_with(task.model, passes, task.image, share_parameters=True)
        if singly is None:  # of the model, whatever of it is in float
            with task.clock.step("verification"):
                singly = must_be_single(task.model, rewritten, task.signature, task.data)
        with fusion.fused_once(rewritten.module):
            attempt = _attempt(task, rewritten, refused, biases, recipe, seen, bool(singly))
        statistics, made, recipe, seen = attempt.statistics, attempt.made, attempt.recipe, attempt.seen
        if made.is_taken(refused) and recipe is not None:
            break
        found = dict(made.refused)
        if found.keys() <= refused.keys() and attempt.biases.keys() <= biases.keys():
            where, why = next(iter(found.items()))
            raise ConversionError(f"{where} cannot be kept in float, although it must be: {why}")
        refused.update(found)
        biases.update(attempt.biases)
    assert made.int8 is not None
    recipe = replace(recipe, changes=statistics.planned)
    used = statistics.means if Recipe.bias_correction in recipe.steps else {}
    return QuantizedModel(
        rewritten,
        statistics.calibration,
        made.adjustments,
        made.ranges,
        made.int8,
        recipe,
        used,
        made.rounded,
        statistics,
        singly=bool(singly),
        in_company=singly == IN_COMPANY,
        refused=refused,
        biases=biases,
    )


@dataclass(frozen=True)
class _Seen:
    """What calibration saw of the float module as it is: of the `first` images, which serve trials, and of all.

    The layers at the paths `unbiased` are to lose their biases before this is used.
    """

    first: CalibrationStatistics
    all: CalibrationStatistics
    unbiased: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Attempt:
    """What calibration saw, the model quantized as far as it goes, and the recipe.

    `biases` are those to be added behind their layers, by the names of nodes. `seen` is for the next attempt, None
    where that has to see for itself.
    """

    statistics: CalibrationStatistics
    made: ConvertedModule
    recipe: ChosenRecipe | None
    biases: Mapping[str, str] = field(default_factory=dict)
    seen: _Seen | None = None


def _attempt(
    task: QuantizationTask,
    rewritten: Rewritten,
    refused: Mapping[str, str],
    biases: Mapping[str, str],
    recipe: ChosenRecipe | None,
    seen: _Seen | None,
    singly: bool,
) -> _Attempt:
    """Calibrate and quantize once; with the `recipe` when it is given.

    Where more is refused than `refused`, or more `biases` are to be moved, no recipe may have been chosen yet.
    """
    config, clock, image = task.config, task.clock, task.image
    run = functools.partial(observe_images, task.model, rewritten, task.signature, task.data, singly, config, clock)
    values = sum(leaf.numel() for leaf in tree_leaves(image) if isinstance(leaf, Tensor))
    taken = recipe.steps if recipe is not None else ()
    carried = _carried_over(seen, rewritten, config, taken) if seen is not None else None
    if carried is not None:
        observed, few, statistics = carried
    else:
        some = first_images(rewritten, config, task.data.count, values) if recipe is None else None
        observed, statistics = run(taken, most=some)
        few = statistics
        if some is not None:
            observed, statistics = run(before=few)
    ends = coarse_ends(rewritten.module, observed, statistics.bare.steps() if statistics.bare is not None else {})
    if ends.refused.keys() - refused.keys() or ends.biases.keys() - biases.keys():
        made = ConvertedModule(None, {**refusals.never_reached(observed), **ends.refused})
        is_exact = statistics.bare is None or statistics.bare.are_exact(ends.layers)
        known = _Seen(few, statistics, frozenset(ends.layers)) if is_exact else None
        return _Attempt(statistics, made, recipe, ends.biases, known)
    if CHANGING & set(taken):
        before = statistics.calibration
        observed, statistics = run(taken, statistics.plan(rewritten, taken, config.weight_scheme))
        statistics = replace(statistics, calibration=statistics.calibration.beside(before))
    if found := refusals.never_reached(observed):
        return _Attempt(statistics, ConvertedModule(None, found), recipe)
    made = convert_calibrated(rewritten, observed, statistics, taken, image, config, clock)
    if recipe is None and made.is_taken(refused):
        trials = Trials(rewritten, few, statistics, refused, run, image, config, clock)
        return _Attempt(*by_recipe(trials, made, task.signature, task.data, config, clock))
    return _Attempt(statistics, made, recipe)


def _carried_over(
    seen: _Seen, rewritten: Rewritten, config: Config, steps: Collection[Recipe]
) -> tuple[nn.Module, CalibrationStatistics, CalibrationStatistics] | None:
    """A module observed as if it had run on the images, and what it would have seen of the first ones, and of all."""
    carried = seen.all.carried_over(rewritten, config, steps, seen.unbiased)
    if carried is None:
        return None
    if seen.first is seen.all:
        return carried[0], carried[1], carried[1]
    first = seen.first.carried_over(rewritten, config, steps, seen.unbiased)
    return (carried[0], first[1], carried[1]) if first is not None else None
