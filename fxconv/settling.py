"""From a model to an int8 module that every kernel takes: rewritten, calibrated and quantized, as often as it takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxconv import keep_float, quantize, refusals, soundness, verify
from fxconv.calibration import Calibration, CalibrationData
from fxconv.clock import Clock, Progress
from fxconv.config import Config
from fxconv.errors import ConversionError, UserError
from fxconv.inputs import InputForm
from fxconv.passes import rewrite_with
from fxconv.ranges import Expected, expected_ranges
from fxconv.refusals import Adjustment
from rewrites import RewritePass, Rewritten
from rewrites.parts import graphs_in


@dataclass(frozen=True)
class Settled:
    """An int8 module that every kernel takes, what it was made of, and the ranges that calibration called for."""

    rewritten: Rewritten
    calibration: Calibration
    adjustments: tuple[Adjustment, ...]
    ranges: dict[str, dict[str, Expected]]
    int8: nn.Module


def settle(
    model: nn.Module,
    rules: Sequence[RewritePass],
    form: InputForm,
    data: CalibrationData,
    image: tuple[Any, ...],
    config: Config,
    clock: Clock,
    kept: Mapping[str, str] | None = None,
) -> Settled:
    """Rewrite, calibrate and quantize, again and with more in float until no kernel refuses what it is given.

    What goes to float changes its neighbours, and their ranges. `kept` are the operations that the user wants in float,
    and why; those that `config` names unless given.
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
        with clock.step("calibration"):
            observed = quantize.observe(rewritten.module, config)
            singly = must_be_single(model, rewritten, form, data)
            calibrated = _calibrate(model, observed, form, data, singly, clock.progress)
        found = refusals.never_reached(observed)
        if not found:
            foreseen = refusals.foresee(observed, config.engine)
            found = dict(foreseen.refused)
        if found and found.keys() <= refused.keys():
            where, why = next(iter(found.items()))
            raise ConversionError(f"{where} cannot be kept in float, although it must be: {why}")
        if not found:
            with clock.step("audit"):
                steps = foreseen.smallest_steps
                ranges = {path: expected_ranges(graph, steps[path]) for path, graph in graphs_in(observed).items()}
            with clock.step("conversion"):
                int8 = quantize.convert_observed(observed)
            found = refusals.met(int8, image)
            gc.collect()  # a graph and its module refer to each other: the float weights would stay for long
            if found.keys() <= refused.keys():
                return Settled(rewritten, calibrated, foreseen.adjustments, ranges, int8)
        refused.update(found)


def must_be_single(model: nn.Module, rewritten: Rewritten, form: InputForm, data: CalibrationData) -> bool:
    """Whether images have to be calibrated with one at a time, as the artifact will see them.

    Code that did not trace may decide by all images of a batch together; and a graph may hold for a batch of one only,
    when the forward made something of the example's size.
    """
    if not isinstance(rewritten.module, fx.GraphModule):
        return True
    if not rewritten.fixed or min(data.count, data.batch_size) < 2:
        return False
    pair = [form.arguments(next(data.batches(2)))]
    try:
        wanted, found = verify.outputs(model, pair), verify.outputs(rewritten.module, pair)
    except Exception:  # whatever a graph made for one image raises for two
        return True
    return not verify.same_function("rewritten", wanted, found, rewritten.tolerance).passed


def _calibrate(
    model: nn.Module, observed: nn.Module, form: InputForm, data: CalibrationData, singly: bool, progress: Progress
) -> Calibration:
    """Run all images through the observers, and one batch through the model itself to know what that costs."""
    seconds, float_seconds, done, first = 0.0, 0.0, 0, 1
    with torch.no_grad():
        for whole in data.batches():
            for batch in _one_by_one(whole) if singly else (whole,):
                arguments = form.arguments(batch)
                if not done:
                    first, start = len(batch[0]), time.perf_counter()
                    model(*verify.cloned(arguments))  # it may write into its input
                    float_seconds = time.perf_counter() - start
                start = time.perf_counter()
                try:
                    observed(*verify.cloned(arguments))
                except RuntimeError as error:
                    if place := soundness.infinite_at(observed, arguments):
                        words = f"the model's values in calibration are infinite or NaN at {place}"
                        raise UserError(f"{words}; mend its weights, or scale its inputs") from error
                    raise
                seconds += time.perf_counter() - start
                done += len(batch[0])
                progress("calibration", done, data.count)
    return Calibration(data.source, done, seconds, float_seconds * done / first, data.skipped)


def _one_by_one(batch: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(values.split(1) for values in batch), strict=True)
