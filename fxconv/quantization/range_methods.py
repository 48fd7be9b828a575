"""From a histogram to the interval that int8 spreads its steps over: each method of `RangeMethod`, and its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fxconv.config import RangeMethod

# Each end is tried at these shares of its extreme, the two ends in turn, this many times; then twice more closely.
_CUTS = torch.linspace(0.02, 1.0, 99, dtype=torch.float64)
_ROUNDS, _CLOSER = 3, 2
# The share that no end is cut below: a range has a width.
_LEAST = 0.01
# What `percentile` cuts off at either end.
_CUT_SHARE = 1e-4
# A range that cuts off more than this share of the power it should hold is none: half of what the audit lets pass.
MOST_LOST = 0.05


@dataclass(frozen=True)
class Histogram:
    """Values in ascending order, and how many of each there are, as float64."""

    values: Tensor
    counts: Tensor


Errors = Callable[[Tensor, Tensor], Tensor]
"""The squared error of ranges by their ends (low, high), which are broadcast against each other."""


def least_squares(histogram: Histogram, least: float, most: float, steps: int) -> tuple[float, float]:
    """The ends with the least expected squared error: a step's variance for each value within, squares beyond.

    The error of values within is taken as uniform, step² / 12 (Widrow 1956, A Study of Rough Amplitude Quantization);
    torch's HistogramObserver minimizes the same sum, one end at a time, and stops at the first step that does not help.
    """
    above = _Tail(histogram.values, histogram.counts)
    below = _Tail(-histogram.values.flip(0), histogram.counts.flip(0))
    number = histogram.counts.sum()

    def errors(low: Tensor, high: Tensor) -> Tensor:
        return ((high - low) / steps) ** 2 / 12 * number + above.squares(high) + below.squares(-low)

    return _search(errors, least, most)


def mean_squared_error(histogram: Histogram, least: float, most: float, steps: int) -> tuple[float, float]:
    """The ends with the least squared error of the values as they are quantized, zero point and rounding included.

    A grid search over the real error, as in Nagel et al. 2021, A White Paper on Neural Network Quantization, 3.1.
    """
    values, counts = histogram.values[:, None], histogram.counts[:, None]

    def errors(low: Tensor, high: Tensor) -> Tensor:
        low, high = torch.broadcast_tensors(low, high)
        scale = (high - low) / steps
        zero = (-low / scale).round()
        found = ((values / scale).round() + zero).clamp(0, steps) - zero
        return ((found * scale - values) ** 2 * counts).sum(0)

    return _search(errors, least, most)


def percentile(histogram: Histogram, least: float, most: float, steps: int) -> tuple[float, float]:
    """The ends beyond which one value in ten thousand lies, at either side.

    99.99 % is among the percentiles of Wu et al. 2020, Integer Quantization for Deep Learning Inference, 3.3.
    """
    below = histogram.counts.cumsum(0) / histogram.counts.sum()
    cut = torch.tensor([_CUT_SHARE, 1 - _CUT_SHARE], dtype=torch.float64)
    low, high = histogram.values[torch.searchsorted(below, cut).clamp(max=len(below) - 1)].tolist()
    return min(low, 0.0), max(high, 0.0)


def holding(
    histogram: Histogram, ends: tuple[float, float], least: float, most: float, lost: float = MOST_LOST
) -> tuple[float, float]:
    """These ends, or both moved towards the extremes until no more than the share `lost` of the power lies beyond.

    One value in ten thousand is little to cut, but of a value with few and loud outliers it may be most of the power.
    """
    above = _Tail(histogram.values, histogram.counts)
    below = _Tail(-histogram.values.flip(0), histogram.counts.flip(0))
    power = (histogram.counts * histogram.values**2).sum()
    shares = torch.linspace(0, 1, 101, dtype=torch.float64)
    lows, highs = ends[0] + (least - ends[0]) * shares, ends[1] + (most - ends[1]) * shares
    first = int((above.squares(highs) + below.squares(-lows) <= lost * power).int().argmax())
    return (lows[first].item(), highs[first].item()) if first else ends


METHODS = {
    RangeMethod.histogram: least_squares,
    RangeMethod.percentile: percentile,
    RangeMethod.mse: mean_squared_error,
}


def _search(errors: Errors, least: float, most: float) -> tuple[float, float]:
    """The best of every share of both extremes, and the best near that; never wider than the extremes.

    Between two shares the errors are smooth, so a closer look makes the result depend on the values and not on which
    share happens to be nearest.
    """
    low, high = torch.tensor(least, dtype=torch.float64), torch.tensor(most, dtype=torch.float64)
    for _ in range(_ROUNDS):
        highs, lows = most * _CUTS, least * _CUTS
        high = highs[errors(low, highs).argmin()]
        low = lows[errors(lows, high).argmin()]
    width = float(_CUTS[1] - _CUTS[0])
    for _ in range(_CLOSER):
        around = torch.linspace(-width, width, 41, dtype=torch.float64)
        highs = (high + most * around).clamp(most * _LEAST, most)
        high = highs[errors(low, highs).argmin()]
        lows = (low + least * around).clamp(least, least * _LEAST)
        low = lows[errors(lows, high).argmin()]
        width /= 20
    return low.item(), high.item()


class _Tail:
    """What lies beyond any point of a histogram, from sums made once."""

    def __init__(self, centres: Tensor, counts: Tensor) -> None:
        self.centres = centres  # ascending
        powers = torch.stack([counts, counts * centres, counts * centres**2])
        self.sums = torch.cat([powers.flip(1).cumsum(1).flip(1), torch.zeros(3, 1, dtype=powers.dtype)], 1)

    def squares(self, points: Tensor) -> Tensor:
        """The sum of (value - point)² over the values above each point."""
        number, total, square = self.sums[:, torch.searchsorted(self.centres, points)]
        return (square - 2 * points * total + points**2 * number).clamp(min=0)
