"""Range estimation: torch.ao's histograms, a search of our own, and what the readers of a value can tell apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import HistogramObserver, MinMaxObserver, PerChannelMinMaxObserver

from fxconv.config import WeightScheme
from rewrites.values import submodule

# Below -3 a hardswish is 0, and outside [-3, 3] a hardsigmoid is 0 or 1: the range need not reach further.
_SEEN_BY: dict[type[nn.Module] | None, tuple[float, float]] = {
    nn.Hardswish: (-3.0, math.inf),
    nn.Hardsigmoid: (-3.0, 3.0),
}

# Each end is tried at this many shares of its extreme, the two ends in turn, this many times.
_CUTS = 99
_ROUNDS = 3


def distinguishable(graph_module: fx.GraphModule, node: fx.Node) -> tuple[float, float]:
    """The interval (low, high) outside which no reader of `node` can tell values apart; infinite where one can."""
    everything = (-math.inf, math.inf)
    kinds = [type(module) if (module := submodule(graph_module, user)) else None for user in node.users]
    seen = [_SEEN_BY.get(kind, everything) for kind in kinds]
    return (min(low for low, _ in seen), max(high for _, high in seen)) if seen else everything


class L2Observer(HistogramObserver):
    """A `HistogramObserver` that finds the range with the least squared error, and ignores what nobody can see.

    torch's own search moves one end at a time and stops at the first step that does not help; this one weighs every
    cut of either end against the whole histogram, so the range hardly depends on which images were drawn. Values
    outside [low, high] count as lying on that bound: a convolution read only by a hardswish saturates at -3 for
    nothing, and its 256 steps are spent on the values that matter. The observed value itself passes unchanged.
    """

    def __init__(self, low: float = -math.inf, high: float = math.inf, **settings: Any) -> None:
        super().__init__(**settings)
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        bounded = math.isfinite(self.low) or math.isfinite(self.high)
        super().forward(x.clamp(self.low, self.high) if bounded else x)
        return x

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        return self.interval()

    def interval(self) -> tuple[Tensor, Tensor]:
        """The ends (low, high) of the range with the least expected squared error; 0 lies within."""
        counts = self.histogram.double()
        least, most = min(self.min_val.item(), 0.0), max(self.max_val.item(), 0.0)
        width = (self.max_val.item() - self.min_val.item()) / self.bins
        centres = self.min_val.item() + width * (torch.arange(self.bins, dtype=torch.float64) + 0.5)
        steps = self.quant_max - self.quant_min
        above, below = _Tail(centres, counts), _Tail(-centres.flip(0), counts.flip(0))

        def errors(low: Tensor, high: Tensor) -> Tensor:
            """Rounding (a uniform step's variance) plus saturation, for each pair of ends."""
            rounding = ((high - low) / steps) ** 2 / 12
            return rounding * counts.sum() + above.squares(high) + below.squares(-low)

        low, high = torch.tensor(least, dtype=torch.float64), torch.tensor(most, dtype=torch.float64)
        cuts = torch.linspace(0.02, 1.0, _CUTS, dtype=torch.float64)
        for _ in range(_ROUNDS):
            high = (most * cuts)[errors(low, most * cuts).argmin()]
            low = (least * cuts)[errors(least * cuts, high).argmin()]
        return low.float(), high.float()


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


def weight_observer(scheme: WeightScheme) -> Callable[[], nn.Module]:
    """The weights' extremes, symmetric, by output channel or for the whole layer.

    The integers run from -127 to 127. With -128 the scale is max / 127.5, the largest weight of every channel is
    cut by half a step, and the cuts all point one way: on MobileNetV3 that costs 7 dB of what the weights alone allow.
    """
    settings: dict[str, Any] = {"dtype": torch.qint8, "quant_min": -127, "quant_max": 127}
    if scheme is WeightScheme.per_channel:
        return PerChannelMinMaxObserver.with_args(qscheme=torch.per_channel_symmetric, **settings)
    return MinMaxObserver.with_args(qscheme=torch.per_tensor_symmetric, **settings)
