"""What each layer gives in float and in int8: how far apart they are by then, and how its range fits its values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx, nn
from torch.ao.nn.quantized import DeQuantize, Quantize

from fxconv.measures.side_by_side import OUTER, Sums, compare
from fxconv.models.graph_calls import inputs_of
from rewrites import Rewritten
from rewrites.diff import call_name
from rewrites.parts import graphs_in, prefixed
from rewrites.values import module_scope, submodule, tensor_nodes

SURVEYED = 4


@dataclass(frozen=True)
class Range:
    """The int8 range of a layer's values, from `low` to `high`, in steps of `scale` from `zero_point`.

    `least` and `most` are the extremes of the float values, `bins` how many of them lie where: of `BINS` equal bins,
    the outer sixths of which lie beside the range, more than half a step from it. The first and the last have those
    still further out, too.
    """

    low: float
    high: float
    scale: float
    zero_point: int
    least: float
    most: float
    bins: tuple[int, ...]

    @property
    def beyond(self) -> float:
        """The share of the float values that the range cuts off, 0 to 1."""
        return 1 - sum(self.bins[OUTER:-OUTER]) / max(sum(self.bins), 1)


@dataclass(frozen=True)
class Layer:
    """One operation of the int8 module, in running order.

    `name` is its node's, `path` that of the module it calls or "", `operator` what it calls, `domain` int8, float,
    boundary, input or output, `inputs` the names of the layers it reads. `part` is the path of the graph it is in, ""
    of a model that is one graph. `original` is its path in the original, `module` the module in whose forward it was
    written and `source` the file and line, as far as they are known. `changes` are the passes that changed it or what
    was fused into it, each with its reason, and `reason` says why it is in float.

    `sqnr_db` compares its values in the int8 module with those in the float module, all that went before included; None
    where there is nothing to compare. `before_db` is the lowest of the layers it reads; infinite at the model's inputs,
    None where it is not known. `range` is None for what has none.
    """

    name: str
    path: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    part: str
    original: str
    module: str
    source: str
    changes: tuple[tuple[str, str], ...]
    reason: str
    sqnr_db: float | None
    before_db: float | None
    range: Range | None

    @property
    def label(self) -> str:
        """What the report calls it."""
        return self.path or self.name

    @property
    def added(self) -> float | None:
        """The noise that came in here, as a share of its values' power; below 0 where it was averaged out."""
        if self.sqnr_db is None or self.before_db is None:
            return None
        return _noise(self.sqnr_db) - _noise(self.before_db)


def _noise(decibels: float) -> float:
    """Noise as a share of the signal's power."""
    return float(10 ** (-decibels / 10))


def survey(int8: nn.Module, floating: nn.Module, rewritten: Rewritten, images: Sequence[Any]) -> tuple[Layer, ...]:
    """The operations on tensors of `int8`, on at most `SURVEYED` inputs, each beside the same one of `floating`.

    `floating` is the fused float module that `int8` was made of, node for node. What was fused into another layer is
    part of that.
    """
    given, twins = inputs_of(int8, images, SURVEYED), inputs_of(floating, images, SURVEYED)
    written = _Written(rewritten)
    float_graphs, found = graphs_in(floating), list[Layer]()
    for path, graph in graphs_in(int8).items():
        sums: dict[str, Sums] = {}
        for inputs, same in zip(given[path], twins[path], strict=False):
            compare(graph, float_graphs[path], inputs, same, sums)
        found += _layers(path, graph, sums, written)
    return tuple(_after(found))


class _Written:
    """What the rewriting knows of each node: its reasons, and where it comes from."""

    def __init__(self, rewritten: Rewritten) -> None:
        self.reasons = {name: island.reason for island in rewritten.islands for name in island.nodes}
        self.graphs = rewritten.graphs
        self.metas: dict[str, Mapping[str, Any]] = {}
        self.classes: dict[str, type] = {}
        for path, graph in self.graphs.items():
            self.metas |= {prefixed(path, node.name): node.meta for node in graph.graph.nodes}
            self.classes |= {prefixed(path, name): kind for name, kind in graph.meta.get("classes", {}).items()}
        self.renamed = {edit.after: edit.before for edit in rewritten.renames}

    def original(self, path: str) -> str:
        """The path of a module in the original; "" for one that was not in it."""
        before = self.renamed.get(path, path)
        return before if before in self.classes else ""

    def fused(self, path: str, graph: fx.GraphModule) -> dict[str, list[tuple[str, str]]]:
        """The changes of what `graph`, made of the one at `path`, no longer has, by the name of what it went into."""
        left = {node.name for node in graph.graph.nodes}
        into: dict[fx.Node, str] = {}
        changes: dict[str, list[tuple[str, str]]] = {}
        for node in self.graphs[path].graph.nodes:
            first = next(iter(node.all_input_nodes), None)
            if node.name in left or first is None:
                into[node] = node.name
            else:
                into[node] = into[first]
                changes.setdefault(into[node], []).extend(node.meta.get("changes", ()))
        return changes


def _layers(path: str, graph: fx.GraphModule, sums: Mapping[str, Sums], written: _Written) -> Iterator[Layer]:
    tensors, shown, fused = tensor_nodes(graph), dict[fx.Node, tuple[str, ...]](), written.fused(path, graph)
    for node in graph.graph.nodes:
        read = tuple(dict.fromkeys(name for value in node.all_input_nodes for name in shown.get(value, ())))
        module, name = submodule(graph, node), prefixed(path, node.name)
        meta = written.metas.get(name, {})
        is_gone = isinstance(module, nn.Identity) or node.op == "get_attr"
        if is_gone or (node not in tensors and node.op != "output"):
            shown[node] = read if is_gone else ()
            continue
        shown[node], is_call = (name,), node.op.startswith("call_")
        count, called = sums.get(node.name, Sums()), prefixed(path, str(node.target)) if module is not None else ""
        yield Layer(
            name=name,
            path=called,
            operator=call_name(graph, node) if is_call else node.op.replace("placeholder", "input"),
            domain=_domain(node, module, count.quantized),
            inputs=read,
            part=path,
            original=written.original(called),
            module=module_scope(node) if is_call else "",
            source=str(meta.get("source", "")),
            changes=tuple(dict.fromkeys((*meta.get("changes", ()), *fused.get(node.name, ())))),
            reason=written.reasons.get(name, ""),
            sqnr_db=_decibels(count),
            before_db=None,
            range=_range(count),
        )


def _after(layers: Sequence[Layer]) -> Iterator[Layer]:
    """The layers with the lowest SQNR of those that each reads."""
    known = {layer.name: layer.sqnr_db for layer in layers}
    known |= {layer.name: math.inf for layer in layers if layer.domain == "input" and not layer.part}
    for layer in layers:
        read = [known.get(name) for name in layer.inputs]
        before = [sqnr for sqnr in read if sqnr is not None]
        yield replace(layer, before_db=min(before) if before else None)


def _domain(node: fx.Node, module: nn.Module | None, quantized: bool) -> str:
    if not node.op.startswith("call_"):
        return "output" if node.op == "output" else "input"
    if isinstance(module, (Quantize, DeQuantize)):
        return "boundary"
    is_dynamic = "quantized.dynamic" in type(module).__module__  # its weights are int8, what it gives is float
    return "int8" if quantized or is_dynamic else "float"


def _decibels(count: Sums) -> float | None:
    if not count.signal:
        return None
    return 10 * math.log10(count.signal / count.noise) if count.noise else math.inf


def _range(count: Sums) -> Range | None:
    if count.ends is None or count.bins is None:
        return None
    return Range(*count.ends, count.least, count.most, tuple(int(number) for number in count.bins))
