"""Range estimation: what was observed, kept as a histogram that adds up, and the interval each method makes of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import MinMaxObserver, PerChannelMinMaxObserver
from torch.ao.quantization.observer import UniformQuantizationObserverBase

from fxconv.config import RangeMethod, WeightScheme
from fxconv.quantization.range_methods import METHODS, Histogram, holding

# Of each row of a batch about this many values are kept, or one in so many of a large one: primes, lest the values that
# are kept all lie in the same columns of an image.
_FEWEST, _STEPS = 8192, (1, 2, 3, 5, 7, 11, 13, 17)
# A histogram has a bin for each value of the upper half of a float32: sign, exponent and 7 bits, so that a bin is
# within 0.4 % of whatever lies in it, at every magnitude from 2**-32 to 2**32.
_HALF, _ANY, _SIDE = 16, (1 << 16) - 1, 64 << 7
_SMALLEST = (127 - 32) << 7
# Values that wait until they are counted together.
_WAITING = 1 << 18


@functools.cache
def _step(width: int) -> int:
    """One in so many of a row of this width is counted."""
    return max((step for step in _STEPS if step * _FEWEST <= width), default=1)


class RangeObserver(UniformQuantizationObserverBase):
    """Counts the values that pass, and makes a range of them by one of the methods of `RangeMethod`.

    Counts are kept by the upper half of a float32's bits. Such bins need not know in advance how far values reach: the
    histogram of two sets of images is the sum of theirs, whatever batches they came in, which is not so of
    `torch.ao.quantization.HistogramObserver`, whose bins stretch as values come. Of a large tensor every 17th value is
    counted, always the same ones; the least and greatest are exact. All of them cost about a fifth of the forward pass
    they watch.

    Values outside [low, high] count as lying on that bound: a convolution read only by a hardswish saturates at -3 for
    nothing, and its 256 steps are spent on the values that matter. The observed value itself passes unchanged. While
    `is_resting` nothing is counted.
    """

    min_val: Tensor
    max_val: Tensor
    counts: Tensor

    def __init__(
        self,
        method: RangeMethod = RangeMethod.histogram,
        low: float = -math.inf,
        high: float = math.inf,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.method, self.low, self.high = method, low, high
        self.is_resting = False
        self.register_buffer("min_val", torch.tensor(math.inf))
        self.register_buffer("max_val", torch.tensor(-math.inf))
        self.register_buffer("counts", torch.zeros(0, dtype=torch.int64))  # until there is something to count
        self._has_own_counts = True
        self._ends = math.inf, -math.inf
        self._waiting: list[tuple[Tensor, int]] = []
        self._intervals: dict[RangeMethod, tuple[float, float]] = {}
        self._bins: Histogram | None = None

    def forward(self, x_orig: Tensor) -> Tensor:
        """Count `x_orig`, a batch of any shape, and hand it on. Raises `RuntimeError` for values not finite."""
        x = x_orig.detach()
        if self.is_resting or not x.numel():
            return x_orig
        self._intervals = {}  # the old ones may be another's as well
        self._bins = None
        if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
            x = x.permute(0, 2, 3, 1)  # as it lies in memory: walking it in another order takes several times as long
        least, most = (end.item() for end in torch.aminmax(x))
        if not (math.isfinite(least) and math.isfinite(most)):
            raise RuntimeError("a value to be quantized is infinite or NaN")
        # most images move neither end, and images may come one by one: then every microsecond here counts
        least, most = self._clamped(least), self._clamped(most)
        if least < self._ends[0] or most > self._ends[1]:
            self._ends = min(least, self._ends[0]), max(most, self._ends[1])
            self.min_val.fill_(self._ends[0])
            self.max_val.fill_(self._ends[1])
        if self.method is not RangeMethod.minmax:
            rows = x.flatten(1) if x.ndim > 1 else x.reshape(1, -1)
            step = _step(rows.shape[1])
            kept = rows[:, ::step].flatten().float()  # a copy: the value itself may be changed in place later
            self._waiting.append((kept.clone() if kept.data_ptr() == x.data_ptr() else kept, step))
            if len(self._waiting) * kept.numel() >= _WAITING:  # they are of about the same size
                self.catch_up()
        return x_orig

    def _clamped(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def catch_up(self) -> None:
        """Count what waits; a value that stands for several counts as many times."""
        if self._waiting and not self._has_own_counts:
            self.counts, self._has_own_counts = self.counts.clone(), True
        if self._waiting and not self.counts.numel():
            self.counts = torch.zeros(2 * _SIDE, dtype=torch.int64)
        for step in {step for _, step in self._waiting}:
            values = torch.cat([values for values, of in self._waiting if of == step])
            if math.isfinite(self.low) or math.isfinite(self.high):
                values = values.clamp_(self.low, self.high)
            upper = (values.view(torch.int32) >> _HALF).bitwise_and_(_ANY)
            for side, counts in enumerate(torch.bincount(upper, minlength=_ANY + 1).view(2, -1).mul_(step)):
                place = self.counts[side * _SIDE : (side + 1) * _SIDE]
                place += counts[_SMALLEST : _SMALLEST + _SIDE]
                place[0] += counts[:_SMALLEST].sum()
                place[-1] += counts[_SMALLEST + _SIDE :].sum()
        self._waiting.clear()

    def merge(self, other: RangeObserver) -> None:
        """Add what another observer of the same value saw."""
        other.catch_up()
        self._bins = None
        if bool(self.min_val <= self.max_val):
            self._intervals, self._has_own_counts = {}, True
            self.catch_up()
            self.counts = self.counts + other.counts if other.counts.numel() else self.counts
        else:  # the other's counts serve until there are others, and what is worked out for one serves both
            self._intervals, self._has_own_counts = other._intervals, False
            self.counts, other._has_own_counts = other.counts, False
        self.min_val = torch.minimum(self.min_val, other.min_val)
        self.max_val = torch.maximum(self.max_val, other.max_val)
        self._ends = self.min_val.item(), self.max_val.item()

    def calculate_qparams(self, method: RangeMethod | None = None, **_: Any) -> tuple[Tensor, Tensor]:
        """Scale and zero point for the interval, by the observer's method unless another one is named."""
        low, high = self.interval(method)
        scale, zero_point = self._calculate_qparams(low, high)
        return scale, zero_point

    def interval(self, method: RangeMethod | None = None) -> tuple[Tensor, Tensor]:
        """The ends (low, high) of the range, by the observer's method unless another one is named; 0 lies within."""
        method = method or self.method
        if method not in self._intervals:  # it is asked for several times, and takes milliseconds
            least, most = min(self.min_val.item(), 0.0), max(self.max_val.item(), 0.0)
            self._intervals[method] = least, most
            if method is not RangeMethod.minmax and least != most:
                steps = self.quant_max - self.quant_min
                self._bins = self._bins or self._histogram()
                ends = METHODS[method](self._bins, least, most, steps)
                self._intervals[method] = holding(self._bins, ends, least, most)
        low, high = self._intervals[method]
        return torch.tensor(low, dtype=torch.float32), torch.tensor(high, dtype=torch.float32)

    def _histogram(self) -> Histogram:
        """The bins that hold anything, in ascending order; the extremes are among them."""
        self.catch_up()
        bins = self.counts.nonzero().flatten()
        middle = ((bins % _SIDE + _SMALLEST) << _HALF) | (1 << (_HALF - 1))
        sizes = middle.to(torch.int32).view(torch.float32).double()
        centres = torch.where(bins < _SIDE, sizes, -sizes)
        ends = torch.stack([self.min_val, self.max_val]).double()
        # a bin's centre may lie beyond the extreme that is in it
        values = torch.cat([centres.clamp(ends[0], ends[1]), ends])
        counts = torch.cat([self.counts[bins].double(), torch.ones(2, dtype=torch.float64)])
        order = values.argsort()
        return Histogram(values[order], counts[order])


# A weight range is tried at these shares of the largest weight, and then at these beside the best of them.
_WEIGHT_CUTS, _CLOSER_CUTS = (0.92, 0.84, 0.76, 0.68, 0.6, 0.52), (0.04, -0.04, 0.02, -0.02)
# Weights that are tried together: as many as stay near the processor.
_WEIGHTS_AT_ONCE = 1 << 16


class _LeastSquares:
    """Mixed into one of torch's weight observers: of several smaller ranges the one with the least squared error.

    A channel with one large weight among many small ones has them all in finer steps, and that one cut (Nagel et al.
    2021, A White Paper on Neural Network Quantization, 3.1: ranges by mean squared error). What was found is kept, for
    it is asked for several times.
    """

    weight: Tensor | None = None
    _found: tuple[Tensor, Tensor] | None = None

    def forward(self, x_orig: Tensor) -> Tensor:
        """Keep the weights themselves, and their extremes."""
        if self.weight is None or self.weight.data_ptr() != x_orig.data_ptr():
            self.weight, self._found = x_orig.detach(), None
        result: Tensor = super().forward(x_orig)  # type: ignore[misc]
        return result

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """The scales, and zero points of 0."""
        widest, zero_point = super().calculate_qparams()  # type: ignore[misc]
        this: Any = self
        assert self.weight is not None
        if self._found is None or not torch.equal(self._found[0], widest):
            rows = self.weight.reshape(1, -1)
            if this.qscheme == torch.per_channel_symmetric:
                rows = self.weight.transpose(0, this.ch_axis).flatten(1)
            count = max(1, _WEIGHTS_AT_ONCE // max(rows.shape[1], 1))
            parts = zip(
                rows.float().split(count), widest.split(count), this.eps.expand_as(widest).split(count), strict=True
            )
            self._found = widest, torch.cat([_least_squares(*part, this.quant_min, this.quant_max) for part in parts])
        return self._found[1], zero_point


def _least_squares(rows: Tensor, widest: Tensor, smallest: Tensor, least: int, most: int) -> Tensor:
    """A scale for each row, among cuts of `widest` and at least `smallest`, with the least squared error."""
    shares, error = torch.ones_like(widest), _squared_error(rows, widest, least, most)
    for cuts in (_WEIGHT_CUTS, _CLOSER_CUTS):
        around = shares if cuts is _CLOSER_CUTS else torch.zeros_like(shares)
        for cut in cuts:
            tried = (around + cut).clamp(max=1.0)
            found = _squared_error(rows, torch.maximum(widest * tried, smallest), least, most)
            shares = torch.where(found < error, tried, shares)
            error = torch.minimum(found, error)
    return torch.maximum(widest * shares, smallest)


def _squared_error(rows: Tensor, scales: Tensor, least: int, most: int) -> Tensor:
    steps = rows.div(scales[:, None]).round_().clamp_(least, most)
    return steps.mul_(scales[:, None]).sub_(rows).square_().sum(1)


class LeastSquaresObserver(_LeastSquares, MinMaxObserver):
    """One scale for a whole layer's weights, with the least squared error."""


class PerChannelLeastSquaresObserver(_LeastSquares, PerChannelMinMaxObserver):
    """A scale for each output channel, with the least squared error."""


def weight_observer(scheme: WeightScheme, cut: bool = False) -> Callable[[], nn.Module]:
    """The weights' extremes, symmetric, by output channel or for the whole layer; cut by squared error when asked.

    The integers run from -127 to 127. With -128 the scale is max / 127.5, the largest weight of every channel is
    cut by half a step, and the cuts all point one way: on MobileNetV3 that costs 7 dB of what the weights alone allow.
    """
    settings: dict[str, Any] = {"dtype": torch.qint8, "quant_min": -127, "quant_max": 127}
    if scheme is WeightScheme.per_channel:
        kind = PerChannelLeastSquaresObserver if cut else PerChannelMinMaxObserver
        return kind.with_args(qscheme=torch.per_channel_symmetric, **settings)
    return (LeastSquaresObserver if cut else MinMaxObserver).with_args(qscheme=torch.per_tensor_symmetric, **settings)
