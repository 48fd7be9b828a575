"""The interval beyond which no reader of a value can tell values apart."""

from __future__ import annotations

import math

from torch import fx, nn

from rewrites.readers import value_readers
from rewrites.values import submodule

# Below -3 a hardswish is 0, and outside [-3, 3] a hardsigmoid is 0 or 1: the range need not reach further.
_SEEN_BY: dict[type[nn.Module] | None, tuple[float, float]] = {
    nn.Hardswish: (-3.0, math.inf),
    nn.Hardsigmoid: (-3.0, 3.0),
}


def distinguishable(graph_module: fx.GraphModule, node: fx.Node) -> tuple[float, float]:
    """The interval (low, high) outside which no reader of `node` can tell values apart; infinite where one can."""
    everything = (-math.inf, math.inf)
    kinds = [type(module) if (module := submodule(graph_module, user)) else None for user in value_readers(node)]
    seen = [_SEEN_BY.get(kind, everything) for kind in kinds]
    return (min(low for low, _ in seen), max(high for _, high in seen)) if seen else everything
