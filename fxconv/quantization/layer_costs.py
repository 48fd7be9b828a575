"""What quantizing one layer alone costs: its weights and its output rounded as in int8, all else in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.utils._pytree import tree_leaves

from fxconv.measures.layer_cost import LayerCost
from fxconv.measures.macs import layer_macs
from fxconv.measures.replayed_decisions import compared_outputs
from fxconv.measures.similarity import Similarity, has_class_scores
from fxconv.models import forward
from fxconv.models.graph_calls import Inputs
from fxconv.quantization.expected_ranges import Expected
from fxconv.quantization.int8_weights import own_weights
from fxconv.quantization.scales import FIXED, readers
from rewrites.copies import sharing_parameters
from rewrites.modules import ScalarArithmetic
from rewrites.parts import graphs_in, own_modules, prefixed
from rewrites.values import submodule

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *_TRANSPOSED)


@dataclass(frozen=True)
class _Probe:
    """A module of a float graph, with the int8 weights in float and the range of its output."""

    place: str
    graph: fx.GraphModule
    path: str
    weights: Mapping[str, Tensor]
    scale: float
    zero_point: int

    @property
    def where(self) -> str:
        """Its path in the whole model."""
        return prefixed(self.place, self.path)

    @property
    def module(self) -> nn.Module:
        return self.graph.get_submodule(self.path)

    @contextmanager
    def quantized(self, weights: bool = True) -> Iterator[None]:
        """While this lasts the module has the weights of its int8 form and gives the values int8 has."""
        kept: list[tuple[nn.Module, str, Any]] = []
        for name, value in self.weights.items() if weights else ():
            parent, _, leaf = name.rpartition(".")
            holder = self.module.get_submodule(parent)
            kept.append((holder, leaf, holder._parameters.get(leaf)))
            holder._parameters[leaf] = nn.Parameter(value, requires_grad=False)
        hook = self.module.register_forward_hook(self._rounded)
        try:
            yield
        finally:
            hook.remove()
            for holder, leaf, parameter in kept:
                holder._parameters[leaf] = parameter

    def _rounded(self, module: nn.Module, args: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        return torch.fake_quantize_per_tensor_affine(output, self.scale, self.zero_point, 0, 255)


def costs(
    floating: nn.Module,
    int8: nn.Module,
    ranges: Mapping[str, Mapping[str, Expected]],
    images: Sequence[Inputs],
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
    outputs: bool = False,
    metric: Callable[[nn.Module, str], float] | None = None,
) -> tuple[LayerCost, ...]:
    """What each int8 operation of `int8` costs alone on these images, each a call with N = 1; the worst first.

    With a `metric` of the user's, called with the whole model and with words for it, the worst by that is first.

    `floating` is the fused float model that `int8` was made of, whose layers change while this runs; `ranges` are the
    ranges that calibration called for, as `expected_ranges` gives them for each graph. With `outputs` layers with
    weights are measured a second time without them. Only what lies behind an operation is computed anew for it, where
    the model is one graph.
    """
    probes = list(_probes(floating, int8, ranges))
    runs = [(probe, True) for probe in probes]
    runs += [(probe, False) for probe in probes if outputs and probe.weights]
    scores = _scores(floating, images)
    tallies = [Similarity(scores) for _ in runs]
    whole = floating if isinstance(floating, fx.GraphModule) else None
    # which is left alone while the other is probed
    reference = sharing_parameters(floating) if whole is None else floating
    for number, image in enumerate(images):
        original = forward.outputs(reference, [image])
        replay = _Replay(whole, image) if whole is not None else None
        for index, ((probe, weights), tally) in enumerate(zip(runs, tallies, strict=True)):
            progress("sensitivity", number * len(runs) + index, len(images) * len(runs))
            with probe.quantized(weights), torch.no_grad():
                if replay is not None:
                    tally.add(original[0], forward.tensors(replay.behind(probe.path)))
                else:
                    both = compared_outputs(reference, floating, original, [image])
                    tally.add(both.wanted[0], both.got[0], both.returned)
    by_metric: dict[str, float] = {}
    for index, probe in enumerate(probes if metric is not None else ()):
        progress("metric", index, len(probes))
        with probe.quantized():
            assert metric is not None
            by_metric[probe.where] = metric(floating, f"the model with {probe.where} in int8")
    alone = {probe.where: tally.sqnr_db for (probe, weights), tally in zip(runs, tallies, strict=True) if not weights}
    macs = _macs(floating, images[0])
    total = max(1, sum(macs.values()))
    weights_of = {probe.where: _weight_bytes(probe) for probe in probes}
    ranged = {probe.where for probe in probes}
    found = [
        LayerCost(
            probe.where,
            _kind(probe.module),
            tally.sqnr_db,
            tally.agreement,
            macs[probe.where],
            macs[probe.where] / total,
            weights_of[probe.where],
            weights_of[probe.where] / max(1, sum(weights_of.values())),
            alone.get(probe.where, tally.sqnr_db) if outputs else None,
            tuple(where for where in _readers(probe) if where in ranged),
            by_metric.get(probe.where),
        )
        for probe, tally in zip(probes, tallies[: len(probes)], strict=True)
    ]
    return tuple(sorted(found, key=lambda cost: (cost.metric or 0.0, cost.sqnr_db, cost.where)))


def _weight_bytes(probe: _Probe) -> int:
    return sum(value.numel() for name, value in probe.weights.items() if name.endswith("weight"))


def _scores(floating: nn.Module, images: Sequence[Inputs]) -> int:
    """How many outputs the model itself returns, among them class scores; 0 when it gives none."""
    first = forward.outputs(floating, images[:2])
    return len(first[0]) if has_class_scores(first) else 0


def _readers(probe: _Probe) -> Iterator[str]:
    """The paths of the modules that compute with what a module gives."""
    for node in probe.graph.graph.nodes:
        if node.op == "call_module" and submodule(probe.graph, node) is probe.module:
            for reader, _ in readers(probe.graph, node, node):
                if reader.op == "call_module":
                    yield prefixed(probe.place, str(reader.target))
            return  # which are those of all calls


def _probes(floating: nn.Module, int8: nn.Module, ranges: Mapping[str, Mapping[str, Expected]]) -> Iterator[_Probe]:
    """Every module with a range of its own, once, in running order."""
    originals, seen = graphs_in(floating), set[int]()
    for place, graph in graphs_in(int8).items():
        for node in graph.graph.nodes:
            module = submodule(graph, node)
            if module is None:
                continue
            twin, path = originals[place].get_submodule(str(node.target)), str(node.target)
            known = next((ranges[place][p] for p in (path, f"{path}.op", f"{path}.quant") if p in ranges[place]), None)
            if known is None or id(twin) in seen or isinstance(twin, (ScalarArithmetic, DeQuantStub)):
                continue
            seen.add(id(twin))
            scale, zero_point = FIXED.get(type(twin), (known.scale, known.zero_point))
            own = own_weights(twin, module)
            yield _Probe(place, originals[place], path, own, scale, zero_point)


class _Recorder(fx.Interpreter):
    """Keeps every value, and knows whether anything wrote into one after it was made."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.versions: list[tuple[Tensor, int]] = []

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        result = super().run_node(n)
        self.versions += [(leaf, leaf._version) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        return result

    @property
    def was_written_into(self) -> bool:
        return any(value._version != version for value, version in self.versions)


class _Replay:
    """One run of a graph, from which that of a changed module is made by computing what lies behind it."""

    def __init__(self, graph: fx.GraphModule, image: Inputs) -> None:
        self.graph, self.image = graph, image
        recorder = _Recorder(graph)
        with torch.no_grad():
            recorder.run(*forward.cloned(image))
        self.kept = {} if recorder.was_written_into else dict(recorder.env)

    def behind(self, path: str) -> Any:
        """What the graph gives now, when the module at `path` is all that has changed."""
        module = self.graph.get_submodule(path)
        changed = {node for node in self.graph.graph.nodes if submodule(self.graph, node) is module}
        for node in self.graph.graph.nodes:
            if node.op == "output" or not changed.isdisjoint(node.all_input_nodes):
                changed.add(node)
        runner = fx.Interpreter(self.graph, garbage_collect_values=False)
        left = {node: value for node, value in self.kept.items() if node not in changed}
        return runner.run(*forward.cloned(self.image), initial_env=left)


def _macs(floating: nn.Module, image: Inputs) -> Counter[str]:
    """Multiply-accumulates of each convolution and linear layer on one image, by the path of what is called."""
    found: Counter[str] = Counter()
    hooks = []
    for place, graph in graphs_in(floating).items():
        own = {id(part) for _, part in own_modules(graph)}
        for path in _called(graph):
            for part in graph.get_submodule(path).modules():
                if isinstance(part, _LAYERS) and id(part) in own:
                    hooks.append(part.register_forward_hook(_counting(found, prefixed(place, path))))
    try:
        with torch.no_grad():
            floating(*forward.cloned(image))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _called(graph: fx.GraphModule) -> Collection[str]:
    """The paths of the modules a graph calls; of one under several paths the first."""
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    return {id(submodule(graph, node)): str(node.target) for node in reversed(calls)}.values()


def _counting(found: Counter[str], where: str) -> Callable[[nn.Module, Any, Any], None]:
    def count(layer: nn.Module, args: Any, output: Any) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        found[where] += layer_macs(weight, args[0], output, isinstance(layer, _TRANSPOSED))

    return count


def _kind(module: nn.Module) -> str:
    """The class of a module; of a fused one those of its parts."""
    if isinstance(module, QuantStub):
        return "QuantStub"
    if isinstance(module, nn.Sequential):
        return " + ".join(type(part).__name__ for part in module)
    return type(module).__name__
