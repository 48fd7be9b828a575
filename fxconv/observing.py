"""One calibration: all images through a module whose values are observed."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from fxconv import quantize, soundness, verify
from fxconv.bias_correction import InputMeans
from fxconv.calibration import Calibration, CalibrationData
from fxconv.clock import Clock, Progress
from fxconv.config import Config, Recipe, WeightScheme
from fxconv.equalization import ChannelPeaks, Equalized, plan
from fxconv.errors import UserError
from fxconv.inputs import InputForm
from fxconv.observers import RangeObserver
from rewrites import Rewritten
from rewrites.parts import graphs_in

# What asks how a tensor lies in memory, or reads it as it lies there.
_ABOUT_MEMORY = frozenset({"as_strided", "stride", "is_contiguous", "storage_offset", "data_ptr"})


@dataclass(frozen=True)
class Seen:
    """What one calibration saw, with layers equalized as `planned`: histograms, channels' means and peaks."""

    calibration: Calibration
    observers: Mapping[str, RangeObserver]
    means: Mapping[str, Tensor]
    peaks: Mapping[str, Tensor]
    planned: tuple[Equalized, ...]

    def plan(self, rewritten: Rewritten, scheme: WeightScheme) -> tuple[Equalized, ...]:
        """How to equalize the layers, from what was seen without."""
        return plan(quantize.fuse(rewritten.module), self.peaks, scheme)


def observe_images(
    model: nn.Module,
    rewritten: Rewritten,
    form: InputForm,
    data: CalibrationData,
    singly: bool,
    config: Config,
    clock: Clock,
    steps: tuple[Recipe, ...] = (),
    planned: tuple[Equalized, ...] = (),
) -> tuple[nn.Module, Seen]:
    """An observed module that has seen all images, and what it has seen.

    The images go through in channels_last, in which convolutions take two thirds of the time, where the model leaves
    the layout to torch.
    """

    def run(layout: torch.memory_format) -> tuple[nn.Module, Seen]:
        with clock.step("calibration"):
            observed = quantize.observe(rewritten.module, config, steps, planned)
            means, peaks = InputMeans(observed), ChannelPeaks(observed)
            with ExitStack() as watching:
                if config.recipe != (Recipe.none,):
                    watching.enter_context(means)
                    watching.enter_context(peaks)
                calibrated = _calibrate(model, observed, form, data, singly, layout, clock.progress)
        return observed, Seen(calibrated, quantize.observers(observed), means.means, peaks.peaks, planned)

    if _leaves_the_layout(rewritten):
        try:
            return run(torch.channels_last)
        except RuntimeError:  # a view() of what lies contiguous in the layout it was written for
            pass
    return run(torch.contiguous_format)


def _leaves_the_layout(rewritten: Rewritten) -> bool:
    """Whether nothing in the model can tell how its values lie in memory, but by failing."""
    if rewritten.leaves or not isinstance(rewritten.module, fx.GraphModule):
        return False
    nodes = (node for graph in graphs_in(rewritten.module).values() for node in graph.graph.nodes)
    return not any(getattr(node.target, "__name__", node.target) in _ABOUT_MEMORY for node in nodes)


def _laid_out(value: Any, layout: torch.memory_format) -> Any:
    """A copy of a tensor in this layout, if it is one that has it."""
    if not isinstance(value, Tensor):
        return value
    copied: Tensor = value.clone(memory_format=layout if value.ndim == 4 else torch.contiguous_format)
    return copied


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
    model: nn.Module,
    observed: nn.Module,
    form: InputForm,
    data: CalibrationData,
    singly: bool,
    layout: torch.memory_format,
    progress: Progress,
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
                    observed(*tree_map(functools.partial(_laid_out, layout=layout), arguments))
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
