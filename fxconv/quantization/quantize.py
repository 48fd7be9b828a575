"""From a model to an int8 module that every kernel takes: rewritten, calibrated and quantized, as often as it takes."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fxconv.config import Config, Recipe
from fxconv.data.calibration import Calibration, CalibrationData
from fxconv.errors import ConversionError
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from fxconv.quantization import fusion, keep_float, refusals
from fxconv.quantization.calibrate import CalibrationStatistics, must_be_single, observe_images
from fxconv.quantization.convert import Quantized, quantized
from fxconv.quantization.expected_ranges import Expected
from fxconv.quantization.fine_tuned import FineTuned
from fxconv.quantization.passes import rewrite_with
from fxconv.quantization.recipe_search.recipe import CHANGING, ChosenRecipe
from fxconv.quantization.recipe_search.search import by_recipe, first_images
from fxconv.quantization.recipe_search.trials import Trials
from fxconv.quantization.refusals import Adjustment
from rewrites import RewritePass, Rewritten


@dataclass(frozen=True)
class QuantizedModel:
    """An int8 module that every kernel takes, what it was made of, and the ranges that calibration called for.

    `means` are those of the layers' inputs by which biases were corrected, none when they were not; `rounded` are the
    layers whose weights were rounded adaptively; `seen` is what its ranges were made of, `training` how its weights
    were fine-tuned, None when fxconv did not.
    """

    rewritten: Rewritten
    calibration: Calibration
    adjustments: tuple[Adjustment, ...]
    ranges: dict[str, dict[str, Expected]]
    int8: nn.Module
    recipe: ChosenRecipe = field(default_factory=ChosenRecipe)
    means: Mapping[str, Tensor] = field(default_factory=dict)
    rounded: frozenset[str] = frozenset()
    seen: CalibrationStatistics | None = None
    training: FineTuned | None = None

    def floating(self) -> nn.Module:
        """The fused float module that int8 was made of: changed as the recipe has it, its biases not corrected."""
        return fusion.fuse(self.rewritten.module, self.recipe.changes)

    def calibrated(self) -> nn.Module:
        """The same with the weights that it had when its ranges were found, before a training."""
        return fusion.fuse(self.rewritten.module, self.recipe.keeping)


def settle(
    model: nn.Module,
    rules: Sequence[RewritePass],
    form: InputSignature,
    data: CalibrationData,
    image: tuple[Any, ...],
    config: Config,
    clock: Clock,
    kept: Mapping[str, str] | None = None,
    steps: tuple[Recipe, ...] | None = None,
) -> QuantizedModel:
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
    recipe = ChosenRecipe(steps) if steps is not None else None
    while True:
        with clock.step("rewriting"):
            passes = refusals.keeping_float(rules, refused)
            rewritten = rewrite_with(model, passes, image, share_parameters=True)
        with fusion.fused_once(rewritten.module):
            seen, made, recipe = _attempt(model, rewritten, form, data, image, config, clock, refused, recipe)
        if made.is_taken(refused) and recipe is not None:
            break
        found = dict(made.refused)
        if found.keys() <= refused.keys():
            where, why = next(iter(found.items()))
            raise ConversionError(f"{where} cannot be kept in float, although it must be: {why}")
        refused.update(found)
    assert made.int8 is not None
    recipe = replace(recipe, changes=seen.planned)
    used = seen.means if Recipe.bias_correction in recipe.steps else {}
    return QuantizedModel(
        rewritten, seen.calibration, made.adjustments, made.ranges, made.int8, recipe, used, made.rounded, seen
    )


def _attempt(
    model: nn.Module,
    rewritten: Rewritten,
    form: InputSignature,
    data: CalibrationData,
    image: tuple[Any, ...],
    config: Config,
    clock: Clock,
    refused: Mapping[str, str],
    recipe: ChosenRecipe | None,
) -> tuple[CalibrationStatistics, Quantized, ChosenRecipe | None]:
    """What calibration saw, the model quantized as far as it goes, and the recipe: `recipe` when it is given.

    Where more is refused than `refused` no recipe may have been chosen yet.
    """
    with clock.step("verification"):
        singly = must_be_single(model, rewritten, form, data)
    run = functools.partial(observe_images, model, rewritten, form, data, singly, config, clock)
    values = sum(leaf.numel() for leaf in tree_leaves(image) if isinstance(leaf, Tensor))
    taken = recipe.steps if recipe is not None else ()
    some = first_images(rewritten, config, data.count, values) if recipe is None else None
    observed, seen = run(taken, most=some)
    few = seen
    if some is not None:
        observed, seen = run(before=few)
    if CHANGING & set(taken):
        before = seen.calibration
        observed, seen = run(taken, seen.plan(rewritten, taken, config.weight_scheme))
        seen = replace(seen, calibration=seen.calibration.beside(before))
    if found := refusals.never_reached(observed):
        return seen, Quantized(None, found), recipe
    made = quantized(rewritten, observed, seen, taken, image, config, clock)
    if recipe is None and made.is_taken(refused):
        trials = Trials(rewritten, few, seen, refused, run, image, config, clock)
        return by_recipe(trials, made, form, data, config, clock)
    return seen, made, recipe
