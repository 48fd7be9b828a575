"""What calibration found, as plain values and tensors: int8 is made of it again, bit for bit, without the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import SimpleNamespace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from fxconv.config import RangeMethod, Recipe
from fxconv.data.calibration import Calibration
from fxconv.errors import ConversionError
from fxconv.quantization import fusion, refusals, static
from fxconv.quantization.calibrate import CalibrationStatistics
from fxconv.quantization.convert import convert_calibrated
from fxconv.quantization.float_changes import Change
from fxconv.quantization.observers import RangeObserver
from fxconv.quantization.passes import rewrite_with
from fxconv.quantization.quantize import QuantizedModel
from fxconv.quantization.recipe_search.recipe import ChosenRecipe, StepGain
from fxconv.quantization.recipes.bias_absorption import Absorbed
from fxconv.quantization.recipes.equalization import Equalized
from fxconv.quantization.task import QuantizationTask

# What a recipe changes in the float module, by the name it is kept under.
_CHANGES: dict[str, type[Any]] = {"equalized": Equalized, "absorbed": Absorbed}


@dataclass(frozen=True)
class KeptRanges:
    """What int8 is made of beside the model itself, as texts, numbers and tensors alone.

    `observers` have the extremes, the histogram's filled bins and the method of each value's range, by its path.
    `refused` are the operations in float, with the reasons, and `biases` those added behind their layers. `rounded`
    are the weights that were rounded adaptively.
    """

    observers: Mapping[str, Mapping[str, Any]]
    means: Mapping[str, Tensor]
    refused: Mapping[str, str]
    biases: Mapping[str, str]
    changes: tuple[Mapping[str, Any], ...]
    rounded: Mapping[str, Tensor]
    recipe: Mapping[str, Any]
    calibration: Mapping[str, Any]
    singly: bool
    in_company: bool

    def plain(self) -> dict[str, Any]:
        """The fields by name, which `KeptRanges` takes."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def kept_ranges(quantized: QuantizedModel) -> KeptRanges:
    """What calibration found of a statically quantized model, and what was decided by it."""
    statistics, recipe = quantized.statistics, quantized.recipe
    assert statistics is not None
    return KeptRanges(
        {path: _observer(one, statistics.methods.get(path)) for path, one in statistics.observers.items()},
        dict(quantized.means),
        dict(quantized.refused),
        dict(quantized.biases),
        tuple(_change(one) for one in recipe.changes),
        dict(statistics.rounded),
        _recipe(recipe),
        asdict(quantized.calibration),
        quantized.singly,
        quantized.in_company,
    )


def quantized_of(task: QuantizationTask, kept: KeptRanges) -> QuantizedModel:
    """The model quantized with these ranges, as it was when they were kept.

    Raises `ConversionError` where it is not the model that they are of, or a kernel refuses them here.
    """
    refused, biases = dict(kept.refused), dict(kept.biases)
    recipe = _recipe_of(kept.recipe, tuple(_change_of(one) for one in kept.changes))
    with task.clock.step("rewriting"):
        passes = refusals.keeping_float(task.passes, refused, biases)
        rewritten = rewrite_with(task.model, passes, task.image, share_parameters=True)
    statistics = CalibrationStatistics(
        Calibration(**kept.calibration),
        {path: _observer_of(one) for path, one in kept.observers.items()},
        SimpleNamespace(means=dict(kept.means)),  # type: ignore[arg-type]  # its means are all that is asked for
        None,  # type: ignore[arg-type]  # by which changes are planned, and these are made
        recipe.changes,
        _no_images,
        methods={path: RangeMethod(one["method"]) for path, one in kept.observers.items() if one["method"]},
        rounded=dict(kept.rounded),
        is_kept=True,
    )
    with task.clock.step("conversion"):
        _check_paths(kept, fusion.fuse(rewritten.module))
        observed = static.observe(rewritten.module, task.config, recipe.steps, recipe.changes)
        own = static.observers(observed)
        if own.keys() != kept.observers.keys():
            other = sorted(own.keys() ^ kept.observers.keys())[0]
            raise ConversionError(f"the saved calibration is of another model: {other} is in one of them alone")
        for path, observer in own.items():
            observer.merge(statistics.observers[path])
    made = convert_calibrated(rewritten, observed, statistics, recipe.steps, task.image, task.config, task.clock)
    if made.int8 is None or not made.is_taken(refused):
        where, why = next(iter(made.refused.items()))
        raise ConversionError(f"{where} cannot run in int8 here as it did when the calibration was saved: {why}")
    return QuantizedModel(
        rewritten,
        statistics.calibration,
        made.adjustments,
        made.ranges,
        made.int8,
        recipe,
        dict(kept.means),
        made.rounded,
        statistics,
        singly=kept.singly,
        in_company=kept.in_company,
        refused=refused,
        biases=biases,
    )


def _check_paths(kept: KeptRanges, floating: nn.Module) -> None:
    """Raises `ConversionError` where a fused float module lacks a layer that something is kept of."""
    there = {path for path, _ in floating.named_modules(remove_duplicate=False)}
    changed = [path for change in kept.changes for key in ("layers", "readers") for path in change[key]]
    if absent := [path for path in (*kept.means, *kept.rounded, *changed) if path not in there]:
        raise ConversionError(f"the saved calibration is of another model: it has no layer {absent[0]}")


def _no_images(module: nn.Module) -> NoReturn:
    raise ConversionError("the saved calibration has no images to run again; calibrate anew")


def _observer(observer: RangeObserver, method: RangeMethod | None) -> dict[str, Any]:
    observer.catch_up()
    bins = observer.counts.nonzero().flatten()
    return {
        "least": float(observer.min_val),
        "most": float(observer.max_val),
        "size": observer.counts.numel(),
        "bins": bins.to(torch.int32),
        "counts": observer.counts[bins],
        "method": method.value if method is not None else "",
    }


def _observer_of(kept: Mapping[str, Any]) -> RangeObserver:
    observer = RangeObserver()
    observer.min_val.fill_(kept["least"])
    observer.max_val.fill_(kept["most"])
    counts = torch.zeros(kept["size"], dtype=torch.int64)
    counts[kept["bins"].long()] = kept["counts"]
    observer.counts = counts
    return observer


def _change(change: Change) -> dict[str, Any]:
    kind = next(name for name, one in _CHANGES.items() if isinstance(change, one))
    values = {one.name: getattr(change, one.name) for one in fields(change)}  # type: ignore[arg-type]
    return {"kind": kind, **{name: dict(v) if isinstance(v, Mapping) else v for name, v in values.items()}}


def _change_of(kept: Mapping[str, Any]) -> Change:
    given = dict(kept)
    change: Change = _CHANGES[given.pop("kind")](**given)
    return change


def _recipe(recipe: ChosenRecipe) -> dict[str, Any]:
    told = asdict(replace(recipe, changes=()))
    del told["changes"]
    told["steps"] = [step.value for step in recipe.steps]
    told["gains"] = [{**asdict(gain), "step": gain.step.value} for gain in recipe.gains]
    return told


def _recipe_of(kept: Mapping[str, Any], changes: tuple[Change, ...]) -> ChosenRecipe:
    steps = tuple(Recipe(step) for step in kept["steps"])
    gains = tuple(StepGain(**{**gain, "step": Recipe(gain["step"])}) for gain in kept["gains"])
    told = {**kept, "steps": steps, "gains": gains, "changes": changes, "nearest": tuple(kept["nearest"])}
    return ChosenRecipe(**told)
