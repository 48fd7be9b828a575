"""A graph in int8 beside the same one in float: how far apart the values of each node are, and where they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from fxconv.measures.saturation import distinguishable
from fxconv.models import forward
from fxconv.models.graph_calls import Inputs

# Bins of a histogram, over the range and a quarter of its width on either side, and those on a side.
BINS, OUTER = 48, 8
_BESIDE = 0.25


@dataclass
class Sums:
    """What adds up over the inputs: power and noise, the int8 range, and where the float values lie."""

    signal: float = 0.0
    noise: float = 0.0
    quantized: bool = False
    ends: tuple[float, float, float, int] | None = None
    least: float = math.inf
    most: float = -math.inf
    bins: Tensor | None = None


def compare(int8: fx.GraphModule, floating: fx.GraphModule, given: Inputs, same: Inputs, sums: dict[str, Sums]) -> None:
    """Run both graphs, each on its own inputs, and add what comes out to `sums`, by the name of the node."""
    reference = _Keeper(floating)
    with torch.no_grad():
        reference.run(*forward.cloned(same))
        _Comparer(int8, floating, reference.kept, sums).run(*forward.cloned(given))


class _Keeper(fx.Interpreter):
    """Runs a float graph and keeps what each node gives."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.kept: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.is_floating_point() and n.op not in ("placeholder", "output"):
            self.kept[n.name] = result
        return result


class _Comparer(fx.Interpreter):
    """Runs an int8 graph beside what the float one gave, and adds up how far apart they are."""

    def __init__(
        self, graph: fx.GraphModule, floating: fx.GraphModule, kept: dict[str, Tensor], sums: dict[str, Sums]
    ) -> None:
        super().__init__(graph)
        self.kept, self.sums, self.floating = kept, sums, floating
        self.twins = {node.name: node for node in floating.graph.nodes}

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        result = super().run_node(n)
        count = self.sums.setdefault(n.name, Sums())
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        count.quantized |= any(leaf.is_quantized for leaf in leaves)
        wanted = self.kept.pop(n.name, None)
        if wanted is not None and isinstance(result, Tensor) and wanted.shape == result.shape:
            self._compare(count, wanted, result, distinguishable(self.floating, self.twins[n.name]))
        return result

    def _compare(self, count: Sums, wanted: Tensor, got: Tensor, seen: tuple[float, float]) -> None:
        values = got.dequantize() if got.is_quantized else got
        wanted, values = (each.double().clamp(*seen) for each in (wanted, values))
        count.signal += float(wanted.square().sum())
        count.noise += float((wanted - values).square().sum())
        if not wanted.numel() or not got.is_quantized or got.qscheme() is not torch.per_tensor_affine:
            return
        limits, scale, zero = torch.iinfo(got.dtype), got.q_scale(), got.q_zero_point()
        low, high = (limits.min - zero) * scale, (limits.max - zero) * scale
        count.ends = low, high, scale, zero
        count.least, count.most = min(count.least, float(wanted.min())), max(count.most, float(wanted.max()))
        low, high = low - scale / 2, high + scale / 2  # within half a step of an end it is rounded to that
        start, end = low - _BESIDE * (high - low), high + _BESIDE * (high - low)
        bins = torch.histc(wanted.clamp(start, end), BINS, start, end)
        count.bins = bins if count.bins is None else count.bins + bins
