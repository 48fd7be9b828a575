"""What each layer gives in float and in int8: how far apart they are by then, and how its range fits its values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.ao.nn.quantized import DeQuantize, Quantize
from torch.utils._pytree import tree_leaves

from fxconv import verify
from fxconv.graphs import inputs_of
from fxconv.observers import distinguishable
from rewrites import Rewritten
from rewrites.diff import call_name
from rewrites.parts import graphs_in, prefixed
from rewrites.values import module_scope, submodule, tensor_nodes

SURVEYED = 4
# Bins of a histogram, over the range and a quarter of its width on either side.
BINS = 48
_BESIDE = 0.25


@dataclass(frozen=True)
class Range:
    """The int8 range of a layer's values, from `low` to `high`, in steps of `scale` from `zero_point`.

    `least` and `most` are the extremes of the float values, `bins` how many of them lie where: of `BINS` equal bins,
    the outer sixths of which lie beside the range. The first and the last have those still further out, too.
    """

    low: float
    high: float
    scale: float
    zero_point: int
    least: float
    most: float
    bins: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One operation of the int8 module, in running order.

    `name` is its node's, `path` that of the module it calls or "", `operator` what it calls, `domain` int8, float,
    boundary, input or output, `inputs` the names of the layers it reads. `module` is the module of the original it was
    written in and `source` the file and line, as far as they are known; `rules` are the passes that changed it and
    `reason` says why it is in float. `sqnr_db` compares its values in the int8 module with those in the float module,
    all that went before included; None where there is nothing to compare. `range` is None for what has none.
    """

    name: str
    path: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    module: str
    source: str
    rules: tuple[str, ...]
    reason: str
    sqnr_db: float | None
    range: Range | None


@dataclass
class _Sums:
    signal: float = 0.0
    noise: float = 0.0
    quantized: bool = False
    ends: tuple[float, float, float, int] | None = None
    least: float = math.inf
    most: float = -math.inf
    bins: Tensor | None = None


def survey(int8: nn.Module, floating: nn.Module, rewritten: Rewritten, images: Sequence[Any]) -> tuple[Layer, ...]:
    """The operations on tensors of `int8`, on at most `SURVEYED` inputs, each beside the same one of `floating`.

    `floating` is the fused float module that `int8` was made of, node for node. Stubs that were fused away are left
    out.
    """
    given, twins = inputs_of(int8, images, SURVEYED), inputs_of(floating, images, SURVEYED)
    reasons = {name: island.reason for island in rewritten.islands for name in island.nodes}
    metas = {
        prefixed(path, node.name): node.meta for path, graph in rewritten.graphs.items() for node in graph.graph.nodes
    }
    float_graphs, found = graphs_in(floating), list[Layer]()
    for path, graph in graphs_in(int8).items():
        sums: dict[str, _Sums] = {}
        for inputs, same in zip(given[path], twins[path], strict=False):
            reference = _Keeper(float_graphs[path])
            with torch.no_grad():
                reference.run(*verify.cloned(same))
                _Comparer(graph, float_graphs[path], reference.kept, sums).run(*verify.cloned(inputs))
        found += _layers(path, graph, sums, metas, reasons)
    return tuple(found)


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
        self, graph: fx.GraphModule, floating: fx.GraphModule, kept: dict[str, Tensor], sums: dict[str, _Sums]
    ) -> None:
        super().__init__(graph)
        self.kept, self.sums, self.floating = kept, sums, floating
        self.twins = {node.name: node for node in floating.graph.nodes}

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        result = super().run_node(n)
        count = self.sums.setdefault(n.name, _Sums())
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        count.quantized |= any(leaf.is_quantized for leaf in leaves)
        wanted = self.kept.pop(n.name, None)
        if wanted is not None and isinstance(result, Tensor) and wanted.shape == result.shape:
            self._compare(count, wanted, result, distinguishable(self.floating, self.twins[n.name]))
        return result

    def _compare(self, count: _Sums, wanted: Tensor, got: Tensor, seen: tuple[float, float]) -> None:
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
        start, end = low - _BESIDE * (high - low), high + _BESIDE * (high - low)
        bins = torch.histc(wanted.clamp(start, end), BINS, start, end)
        count.bins = bins if count.bins is None else count.bins + bins


def _layers(
    path: str,
    graph: fx.GraphModule,
    sums: Mapping[str, _Sums],
    metas: Mapping[str, Mapping[str, Any]],
    reasons: Mapping[str, str],
) -> Iterator[Layer]:
    tensors, shown = tensor_nodes(graph), dict[fx.Node, tuple[str, ...]]()
    for node in graph.graph.nodes:
        read = tuple(dict.fromkeys(name for value in node.all_input_nodes for name in shown.get(value, ())))
        module = submodule(graph, node)
        is_gone = isinstance(module, nn.Identity) or node.op == "get_attr"
        if is_gone or (node not in tensors and node.op != "output"):
            shown[node] = read if is_gone else ()
            continue
        name, count = prefixed(path, node.name), sums.get(node.name, _Sums())
        shown[node] = (name,)
        meta = metas.get(name, {})
        yield Layer(
            name=name,
            path=prefixed(path, str(node.target)) if node.op == "call_module" else "",
            operator=call_name(graph, node) if node.op.startswith("call_") else node.op.replace("placeholder", "input"),
            domain=_domain(node, module, count.quantized),
            inputs=read,
            module=module_scope(node) if node.op.startswith("call_") else "",
            source=str(meta.get("source", "")),
            rules=tuple(meta.get("rules", ())),
            reason=reasons.get(name, ""),
            sqnr_db=_decibels(count),
            range=_range(count),
        )


def _domain(node: fx.Node, module: nn.Module | None, quantized: bool) -> str:
    if not node.op.startswith("call_"):
        return "output" if node.op == "output" else "input"
    if isinstance(module, (Quantize, DeQuantize)):
        return "boundary"
    is_dynamic = "quantized.dynamic" in type(module).__module__  # its weights are int8, what it gives is float
    return "int8" if quantized or is_dynamic else "float"


def _decibels(count: _Sums) -> float | None:
    if not count.signal:
        return None
    return 10 * math.log10(count.signal / count.noise) if count.noise else math.inf


def _range(count: _Sums) -> Range | None:
    if count.ends is None or count.bins is None:
        return None
    return Range(*count.ends, count.least, count.most, tuple(int(number) for number in count.bins))
