"""Of several ranges for an activation the one that disturbs what reads it least.

Which range is best is not said by the values alone: a depthwise convolution's one channel in a thousand that reaches
twice as far as all others may be what the next layer listens to, or noise. So each range is tried on the values
themselves, and the error is taken where the next layers put it: at their outputs. This is the layer-wise criterion of
Nagel et al. 2021, A White Paper on Neural Network Quantization, 3.1, moved to the layers that read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from fxconv.config import RangeMethod
from fxconv.models.graph_calls import Inputs
from fxconv.quantization.observers import RangeObserver
from fxconv.quantization.range_methods import MOST_LOST
from fxconv.quantization.scales import carries, source
from rewrites.parts import graphs_in
from rewrites.values import calls_of, submodule

# Images that ranges are tried on: so many that their values are enough, two at least.
_VALUES, _FEWEST, _MOST = 2 * 3 * 224 * 224, 2, 16
_TRIED = (RangeMethod.histogram, RangeMethod.percentile, RangeMethod.minmax)
# Ranges that differ by less than this share of the wider one are the same.
_SAME = 0.03
# With fewer values than this in an image each image is looked at by itself: one that is loud may be all that is cut.
_FEW = 8192


@dataclass(frozen=True)
class _Reading:
    """The tensor of a module's call, by its place among the leaves of the arguments, that an observer gives a range."""

    observer: RangeObserver
    leaf: int


def images_needed(image: Tensor) -> int:
    """How many images of this size `[1, ...]` ranges are tried on."""
    return min(max(math.ceil(_VALUES / image.numel()), _FEWEST), _MOST)


def search_ranges(observed: nn.Module, images: Sequence[Inputs]) -> dict[str, RangeMethod]:
    """The method for each observer of a calibrated module, by its path, that disturbs the readers' outputs least.

    `images` are calls of the module. What no module reads, or where all methods give the same range, is left out.
    The observers do not count what passes here.
    """
    paths = {part: path for path, part in observed.named_modules() if isinstance(part, RangeObserver)}
    intervals = {observer: found for observer in paths if len(found := _intervals(observer)) > 1}
    watching = _Readers(dict(_readings(observed)), intervals)
    for observer in paths:
        observer.is_resting = True
    try:
        with watching, torch.no_grad():
            for image in images:
                observed(*image)
    finally:
        for observer in paths:
            observer.is_resting = False
    return {paths[observer]: method for observer, method in watching.best().items()}


def _intervals(observer: RangeObserver) -> dict[RangeMethod, tuple[float, int]]:
    """Scale and zero point by the methods that give different ones; the observer's own method goes first."""
    if observer.method is RangeMethod.minmax or not bool(observer.min_val <= observer.max_val):
        return {}  # there is no histogram, or nothing was seen
    found: dict[RangeMethod, tuple[float, int]] = {}
    ends: list[tuple[float, float]] = []
    for method in dict.fromkeys((observer.method, *_TRIED)):
        low, high = (end.item() for end in observer.interval(method))
        if any(abs(low - a) + abs(high - b) <= _SAME * max(high - low, b - a) for a, b in ends):
            continue
        ends.append((low, high))
        scale, zero_point = observer.calculate_qparams(method=method)
        found[method] = scale.item(), int(zero_point)
    return found


def _readings(observed: nn.Module) -> Iterator[tuple[nn.Module, list[_Reading]]]:
    """Every module that is called once, with what it reads that an observer gives a range."""
    for graph in graphs_in(observed).values():
        for node in graph.graph.nodes:
            module = submodule(graph, node)
            if module is None or len(calls_of(graph, node)) > 1 or carries(graph, node):
                continue
            if found := list(_read_by(graph, node)):
                yield module, found


def _read_by(graph: fx.GraphModule, node: fx.Node) -> Iterator[_Reading]:
    for leaf, value in enumerate(tree_leaves((node.args, node.kwargs))):
        found = source(graph, value) if isinstance(value, fx.Node) else None
        # behind an operator with a constant the range is another one than the observer's
        if found is not None and isinstance(found.observer, RangeObserver) and not found.scalars:
            yield _Reading(found.observer, leaf)


class _Readers:
    """While entered, every module in `readings` is run with its inputs rounded to each interval as well."""

    def __init__(
        self,
        readings: Mapping[nn.Module, list[_Reading]],
        intervals: Mapping[RangeObserver, Mapping[RangeMethod, tuple[float, int]]],
    ) -> None:
        self.intervals = intervals
        self.readings = {
            module: kept
            for module, found in readings.items()
            if (kept := [reading for reading in found if reading.observer in intervals])
        }
        # what each method's rounding does to each reader: the power of the noise, by observer, method and reader
        self.noise: dict[tuple[RangeObserver, RangeMethod, nn.Module], float] = {}
        self.signal: dict[nn.Module, float] = {}
        # and, of ranges that cut, to the values themselves
        self.lost: dict[tuple[RangeObserver, RangeMethod], float] = {}
        self.power: dict[RangeObserver, float] = {}
        # the largest share of an image's power that a range cuts off, where images have few values
        self.cut: dict[tuple[RangeObserver, RangeMethod], float] = {}
        self._found: dict[nn.Module, list[tuple[RangeObserver, RangeMethod, Any]]] = {}

    def __enter__(self) -> _Readers:
        self.hooks = []
        for module in self.readings:
            self.hooks.append(module.register_forward_pre_hook(self._try, with_kwargs=True))
            self.hooks.append(module.register_forward_hook(self._compare))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _try(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Before the module runs, for it may write into its input."""
        leaves, structure = tree_flatten((args, kwargs))
        self._found[module] = []
        for reading in self.readings[module]:
            value, observer = leaves[reading.leaf], reading.observer
            self.power[observer] = self.power.get(observer, 0.0) + _power(value)
            for method, (scale, zero_point) in self.intervals[observer].items():
                ends = observer.quant_min, observer.quant_max
                rounded = torch.fake_quantize_per_tensor_affine(value, scale, zero_point, *ends)
                if method is not RangeMethod.minmax:
                    key = observer, method
                    self.lost[key] = self.lost.get(key, 0.0) + _power(rounded - value)
                    low, high = ((end - zero_point) * scale for end in ends)
                    self.cut[key] = max(self.cut.get(key, 0.0), _cut_of_an_image(observer, value, low, high))
                given = [*leaves[: reading.leaf], rounded, *leaves[reading.leaf + 1 :]]
                new_args, new_kwargs = tree_unflatten(given, structure)
                result = module.forward(*new_args, **new_kwargs)
                self._found[module].append((observer, method, result))

    def _compare(self, module: nn.Module, _: Any, output: Any) -> None:
        wanted = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self.signal[module] = self.signal.get(module, 0.0) + sum(_power(leaf) for leaf in wanted)
        for observer, method, result in self._found.pop(module):
            got = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            key = observer, method, module
            noise = sum(_power(a - b) for a, b in zip(wanted, got, strict=True))
            self.noise[key] = self.noise.get(key, 0.0) + noise

    def best(self) -> dict[RangeObserver, RangeMethod]:
        """The method with the least noise beside the signal, summed over the readers."""
        totals: dict[RangeObserver, dict[RangeMethod, float]] = {}
        for (observer, method, module), noise in self.noise.items():
            lost, cut = (found.get((observer, method), 0.0) for found in (self.lost, self.cut))
            if lost > MOST_LOST * self.power[observer] or cut > MOST_LOST:
                continue
            of = totals.setdefault(observer, {})
            of[method] = of.get(method, 0.0) + (noise / self.signal[module] if self.signal[module] else math.inf)
        return {observer: min(found, key=found.__getitem__) for observer, found in totals.items()}


def _cut_of_an_image(observer: RangeObserver, value: Tensor, low: float, high: float) -> float:
    """The largest share of the power of one image that lies outside [low, high]; 0 where images have many values."""
    rows = value.flatten(1) if value.ndim > 1 else value.reshape(1, -1)
    if not 0 < rows.shape[1] < _FEW:
        return 0.0
    seen = rows.clamp(observer.low, observer.high).float()
    powers = seen.square().sum(1)
    beyond = (seen - seen.clamp(low, high)).square().sum(1)
    return float(torch.where(powers > 0, beyond / powers, 0.0).max())


def _power(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value.float()).square())
