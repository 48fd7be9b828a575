"""One calibration: all images through a module whose values are observed."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from fxconv.config import Config, RangeMethod, Recipe, WeightScheme
from fxconv.data.calibration import Calibration, CalibrationData
from fxconv.errors import UserError
from fxconv.models import forward, preconditions
from fxconv.models.graph_calls import Inputs
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock, Progress
from fxconv.quantization import fusion, static
from fxconv.quantization.float_changes import Change
from fxconv.quantization.images_together import ImagePair, answers_together, is_for_one_image
from fxconv.quantization.observers import RangeObserver
from fxconv.quantization.recipes import bias_absorption, equalization
from fxconv.quantization.recipes.adaround import InputGrams
from fxconv.quantization.recipes.bias_correction import InputMeans
from fxconv.quantization.recipes.channels import ChannelExtremes
from fxconv.quantization.recipes.reader_ranges import images_needed, search_ranges
from fxconv.quantization.without_bias import WithoutBias
from rewrites import Rewritten
from rewrites.parts import graphs_in

# What asks how a tensor lies in memory, or reads it as it lies there.
_ABOUT_MEMORY = frozenset({"as_strided", "stride", "is_contiguous", "storage_offset", "data_ptr"})

# The name that torch gives a module's observer.
OBSERVER = "activation_post_process"

# The reason that is the model's own.
IN_COMPANY = "it answers an image otherwise beside another one"
# Images that go through together, however they come: fewer take longer, and so do more, which the caches do not hold.
_AT_ONCE = 4


@dataclass(frozen=True)
class CalibrationStatistics:
    """What one calibration saw, of a float module changed as `planned`: histograms, channels' means and extremes.

    `examples` are calls with a few of the images, `again` runs all of them through a module. `methods` are filled when
    they are first asked for. `bare` is what the last layers gave without their biases, where nothing was changed.
    `rounded` are the weights of layers that were rounded adaptively, filled when that is done; where all this `is_kept`
    from an earlier conversion, they are taken as they are.
    """

    calibration: Calibration
    observers: Mapping[str, RangeObserver]
    inputs: InputMeans
    extremes: ChannelExtremes
    planned: tuple[Change, ...]
    again: Callable[[nn.Module], Any]
    examples: tuple[Inputs, ...] = ()
    methods: dict[str, RangeMethod] = field(default_factory=dict)
    bare: WithoutBias | None = None
    rounded: dict[str, Tensor] = field(default_factory=dict)
    is_kept: bool = False

    @property
    def means(self) -> dict[str, Tensor]:
        """The mean of each input channel of each layer, by its path."""
        return self.inputs.means

    def carried_over(
        self, rewritten: Rewritten, config: Config, steps: Collection[Recipe], unbiased: Collection[str]
    ) -> tuple[nn.Module, CalibrationStatistics] | None:
        """An observed module that has seen this and runs less in int8, and what it has seen; None where it needs more.

        What runs in float changes no range of what float gives elsewhere. The layers at the paths `unbiased` have lost
        their biases.
        """
        seen = dict(self.observers)
        for path in unbiased:
            assert self.bare is not None
            seen[f"{path}.{OBSERVER}"] = self.bare.observers[path]
        observed = static.observe(rewritten.module, config, steps)
        own = static.observers(observed)
        if any(
            path not in seen or (one.low, one.high) != (seen[path].low, seen[path].high) for path, one in own.items()
        ):
            return None
        for path, observer in own.items():
            observer.merge(seen[path])
        return observed, replace(self, observers=own, bare=self.bare.but(unbiased) if self.bare is not None else None)

    def input_grams(self, rewritten: Rewritten) -> dict[str, Tensor]:
        """What rounding needs to know of the inputs of each layer of the float module, by its path."""
        floating = fusion.fuse(rewritten.module, self.planned)
        with InputGrams(floating) as watching:
            self.again(floating)
        return watching.grams

    def set_ranges(self, observed: nn.Module) -> bool:
        """Give each observer of a module that has seen this the range that disturbs its readers least.

        Whether that is another one than it had, for any.
        """
        found = static.observers(observed)
        if not self.methods:
            self.methods.update({path: observer.method for path, observer in found.items()})
            self.methods.update(search_ranges(observed, self.examples))
        changes = False
        for path, method in self.methods.items():
            changes |= found[path].method is not method
            found[path].method = method
        return changes

    def plan(self, rewritten: Rewritten, steps: Collection[Recipe], scheme: WeightScheme) -> tuple[Change, ...]:
        """How these steps change the float module, from what was seen of it as it was."""
        floating, changes = fusion.fuse(rewritten.module), list[Change]()
        lows, highs = dict(self.extremes.lows), dict(self.extremes.highs)
        if Recipe.bias_absorption in steps:
            absorbed, taken = bias_absorption.plan(floating, lows, highs)
            changes += absorbed
            for one in absorbed:
                one.apply(floating)
            for values in (lows, highs):
                values.update({path: values[path] - moved for path, moved in taken.items()})
        if Recipe.equalization in steps:
            peaks = {path: torch.maximum(lows[path].abs(), highs[path].abs()) for path in lows}
            changes += equalization.plan(floating, peaks, scheme)
        return tuple(changes)


def observe_images(
    model: nn.Module,
    rewritten: Rewritten,
    signature: InputSignature,
    data: CalibrationData,
    singly: bool,
    config: Config,
    clock: Clock,
    steps: tuple[Recipe, ...] = (),
    planned: tuple[Change, ...] = (),
    most: int | None = None,
    before: CalibrationStatistics | None = None,
) -> tuple[nn.Module, CalibrationStatistics]:
    """An observed module that has seen all images, or `most` of them, and what it has seen.

    With what it saw of the first ones `before`, only the others are run, and ranges stay by the methods found then.
    The images go through in channels_last, in which convolutions take two thirds of the time, where the model leaves
    the layout to torch.
    """

    def run(layout: torch.memory_format) -> tuple[nn.Module, CalibrationStatistics]:
        with clock.step("calibration"):
            observed = static.observe(rewritten.module, config, steps, planned)
            means, extremes = InputMeans(observed), ChannelExtremes(observed)
            bare = WithoutBias(rewritten.module, observed) if not planned else None
            with ExitStack() as watching:
                if bare is not None:
                    watching.enter_context(bare)
                if config.recipe != (Recipe.none,):
                    watching.enter_context(means)
                    if not planned:
                        watching.enter_context(extremes)
                skip = before.calibration.images if before is not None else 0
                is_timed = not planned and before is None
                watched = _Watched(model, observed, signature, layout, clock.progress, is_timed)
                calibrated = watched.calibrate(data, singly, skip, most)
        observers = static.observers(observed)
        for observer in observers.values():
            observer.catch_up()  # what waits would take memory for as long as this is kept
        if before is not None:
            calibrated = replace(calibrated, seconds=before.calibration.seconds + calibrated.seconds)
            calibrated = calibrated.beside(before.calibration)
            means.add(before.inputs)
            extremes.add(before.extremes)
            if bare is not None and before.bare is not None:
                bare.add(before.bare)
            for path, observer in observers.items():
                observer.merge(before.observers[path])
        methods = dict(before.methods) if before is not None else {}

        def again(module: nn.Module) -> Calibration:
            return _Watched(model, module, signature, layout, clock.progress).calibrate(data, singly, 0, None)

        examples = before.examples if before is not None else tuple(watched.examples)
        return observed, CalibrationStatistics(
            calibrated, observers, means, extremes, planned, again, examples, methods, bare
        )

    if leaves_the_layout(rewritten):
        try:
            return run(torch.channels_last)
        except RuntimeError:  # a view() of what lies contiguous in the layout it was written for
            pass
    return run(torch.contiguous_format)


def leaves_the_layout(rewritten: Rewritten) -> bool:
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


def must_be_single(model: nn.Module, rewritten: Rewritten, signature: InputSignature, data: CalibrationData) -> str:
    """Why images have to be calibrated with one at a time, as the artifact will see them; "" when they need not.

    Code that did not trace may decide by all images of a batch together; a graph may hold for a batch of one only,
    when the forward made something of the example's size; and the model itself may answer images in company otherwise.
    """
    if not isinstance(rewritten.module, fx.GraphModule):
        return "the model is converted in parts"
    pair = ImagePair.of(data)
    if pair is None:
        return ""
    if is_for_one_image(model, rewritten, signature, pair):
        return "its graph is for one image"
    return "" if answers_together(rewritten.module, signature, pair) else IN_COMPANY


class _Watched:
    """An observed module to run images through, in this layout, and one batch through the `original` if that is timed.

    `examples` are the calls with the first few images.
    """

    def __init__(
        self,
        original: nn.Module,
        observed: nn.Module,
        signature: InputSignature,
        layout: torch.memory_format,
        show: Progress,
        is_timed: bool = False,
    ) -> None:
        self.original, self.is_timed, self.observed = original, is_timed, observed
        self.signature, self.layout, self.progress = signature, layout, show
        self.examples: list[Inputs] = []

    def calibrate(self, data: CalibrationData, singly: bool, skip: int, most: int | None) -> Calibration:
        """Run the images, or those from `skip` to `most`, through the observers."""
        seconds, float_seconds, done, first = 0.0, 0.0, skip, 1
        with torch.no_grad():
            for batch in _regrouped(data.batches(most, skip), 1 if singly else _AT_ONCE):
                if self.is_timed and done == 0:
                    first, start = len(batch[0]), time.perf_counter()
                    forward.outputs(self.original, [self.signature.arguments(batch)])
                    float_seconds = time.perf_counter() - start
                if (left := images_needed(batch[0][:1]) - done) > 0:
                    self.examples.append(self._arguments(tuple(values[:left] for values in batch)))
                start = time.perf_counter()
                self._observe(batch)
                seconds += time.perf_counter() - start
                done += len(batch[0])
                self.progress("calibration", done, min(most or data.count, data.count))
        return Calibration(data.source, done, seconds, float_seconds * done / first, data.skipped)

    def _arguments(self, batch: tuple[Tensor, ...]) -> Inputs:
        laid_out: Inputs = tree_map(functools.partial(_laid_out, layout=self.layout), self.signature.arguments(batch))
        return laid_out

    def _observe(self, batch: tuple[Tensor, ...]) -> None:
        try:
            with preconditions.faults_told(self.original, [self.signature.arguments(batch)]):
                self.observed(*self._arguments(batch))
        except RuntimeError as error:
            if place := preconditions.infinite_at(self.observed, self.signature.arguments(batch)):
                words = f"the model's values in calibration are infinite or NaN at {place}"
                raise UserError(f"{words}; mend its weights, or scale its inputs") from error
            raise


def _regrouped(batches: Iterator[tuple[Tensor, ...]], count: int) -> Iterator[tuple[Tensor, ...]]:
    """The same images, `count` at a time; fewer at the end, and before images of another size."""
    waiting: tuple[Tensor, ...] = ()
    for batch in batches:
        if waiting and any(one.shape[1:] != other.shape[1:] for one, other in zip(waiting, batch, strict=True)):
            yield waiting
            waiting = ()
        if waiting:
            batch = tuple(torch.cat(pair) for pair in zip(waiting, batch, strict=True))
        parts = list(zip(*(values.split(count) for values in batch), strict=True))
        waiting = parts.pop() if len(parts[-1][0]) < count else ()
        yield from parts
    if waiting:
        yield waiting
