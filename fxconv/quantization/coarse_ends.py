"""Values behind the last layers whose int8 steps are too coarse for a part of them, and what gives it finer ones.

What no convolution or linear layer reads any more costs no multiply-accumulates in float. Where tensors of scales far
apart are joined there, the finer ones are lost in the steps they share; a bias, or a constant that is added or
multiplied, may dwarf what it meets. Where the steps of such a result are several times those a part of it would have by
itself,

- what joins tensors or takes a constant runs in float, on parts that leave int8 in steps of their own; and so does a
  sigmoid of values near each other, whose kernel has the same steps whatever it is given;
- the bias of a layer is left out of int8 and added behind.

All that is computed of it runs in float as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import QuantStub

from fxconv.quantization.expected_ranges import has_seen
from fxconv.quantization.scales import carries, own_observer, source
from rewrites.domains import assign
from rewrites.fusion import weighted
from rewrites.kernels import MULTIPLY_ACCUMULATE
from rewrites.modules import Add, Cat, Mul, MulScalar, ScalarArithmetic, Stack, Wrapped
from rewrites.parts import graphs_in, prefixed
from rewrites.passes.bias_to_add import behind, leading_to
from rewrites.values import constant_tensor, submodule, tensor_nodes

# What is computed by kernels whose steps are the same whatever they are given.
_CURVES: dict[type, Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: torch.sigmoid,
    nn.Hardsigmoid: nn.functional.hardsigmoid,
    nn.Tanh: torch.tanh,
}

# Steps so many times a part's own leave it 32 of its 256 or fewer, and cost it 18 dB or more of the 40 or so it has.
COARSE = 8.0


@dataclass(frozen=True)
class CoarseEnds:
    """What is to change and why, by the names of nodes, behind the path of their graph.

    `refused` are operations that are to run in float, `biases` layers whose bias is to be added behind them, and
    `layers` the paths of these.
    """

    refused: Mapping[str, str] = field(default_factory=dict)
    biases: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()


def coarse_ends(rewritten: nn.Module, observed: nn.Module, without_bias: Mapping[str, float]) -> CoarseEnds:
    """Where the steps of a calibrated module are too coarse for a part of a value behind its last layers.

    `without_bias` are the steps that its last layers would have without their biases, by their paths.
    """
    refused, biases, layers, unquantized = dict[str, str](), dict[str, str](), list[str](), graphs_in(rewritten)
    for path, graph in graphs_in(observed).items():
        ends = _Ends(graph, without_bias, path)
        found, moved = dict(ends.operations()), dict(ends.biases())
        if not found and not moved:
            continue
        layers += [prefixed(path, str(node.target)) for node in moved]
        int8 = {node.name for node in assign(unquantized[path]).int8}
        for node, why in (*found.items(), *moved.items()):
            (refused if node in found else biases)[prefixed(path, node.name)] = why
            for user in behind(graph, node) - found.keys():
                if user.name in int8 and not isinstance(submodule(graph, user), QuantStub):
                    refused.setdefault(prefixed(path, user.name), f"follows {node.name}, which is in float")
    return CoarseEnds(refused, biases, tuple(layers))


@dataclass(frozen=True)
class _Part:
    """The finest part of a value: the node that makes it, and the steps it has by itself, in units of the value."""

    node: fx.Node
    step: float


class _Ends:
    """The values of one graph that no layer reads any more.

    `without_bias` are steps by the paths of layers in the whole model, where the graph stands at `path`.
    """

    def __init__(self, graph_module: fx.GraphModule, without_bias: Mapping[str, float], path: str) -> None:
        self.graph_module, self.without_bias, self.path = graph_module, without_bias, path
        leads_on = leading_to(graph_module, self._is_layer)
        tensors = tensor_nodes(graph_module)
        self.nodes = [node for node in graph_module.graph.nodes if node in tensors and node not in leads_on]

    def operations(self) -> Iterator[tuple[fx.Node, str]]:
        """What joins tensors, takes a constant or has fixed steps where these are too coarse for a part; and why."""
        for node in self.nodes:
            if isinstance(self._operator(node), MulScalar) or not (parts := self._parts(node)):
                continue  # a product with one number has the steps of what is multiplied
            step, finest = self._step(node), min(parts, key=lambda part: part.step)
            if math.isfinite(step) and step >= COARSE * finest.step > 0:
                yield node, f"{self._cause(node)}: {_left(finest.node.name, step / finest.step)}"

    def biases(self) -> Iterator[tuple[fx.Node, str]]:
        """The layers whose steps are too coarse for what they give without their biases, and why that is so."""
        for node in self.nodes:
            bare = self._without_bias(node)
            if bare is not None and math.isfinite(step := self._step(node)) and step >= COARSE * bare > 0:
                yield node, f"the bias of {node.target} dwarfs its products: {_left('they', step / bare)}"

    def _is_layer(self, node: fx.Node) -> bool:
        module = submodule(self.graph_module, node)
        return module is not None and type(weighted(module)) in MULTIPLY_ACCUMULATE

    def _cause(self, node: fx.Node) -> str:
        kind = self._operator(node)
        if isinstance(kind, (Cat, Stack)):
            return "it joins tensors of different scales"
        return "the steps of its kernel are fixed" if type(kind) in _CURVES else "its constant dwarfs what it meets"

    def _operator(self, node: fx.Node) -> nn.Module | None:
        module = submodule(self.graph_module, node)
        return module.op if isinstance(module, Wrapped) else module

    def _without_bias(self, node: fx.Node) -> float | None:
        return self.without_bias.get(prefixed(self.path, str(node.target))) if node.op == "call_module" else None

    def _step(self, node: fx.Node) -> float:
        """The int8 steps of a value; infinite for one in float, or that calibration never reached."""
        found = source(self.graph_module, node)
        return found.qparams()[0] if found is not None and has_seen(found.observer) else math.inf

    def _finest(self, node: fx.Node) -> _Part:
        """The finest part of a value."""
        if (bare := self._without_bias(node)) is not None:
            return _Part(node, min(bare, self._step(node)))
        if parts := self._parts(node):
            return min(parts, key=lambda part: part.step)
        if carries(self.graph_module, node) and node.all_input_nodes:
            return self._finest(node.all_input_nodes[0])
        own = own_observer(self.graph_module, node)
        return _Part(node, own.qparams()[0] if own is not None and has_seen(own.observer) else math.inf)

    def _parts(self, node: fx.Node) -> list[_Part]:
        """The finest part of each tensor that is joined, or that meets a constant; none of any other operation."""
        kind = self._operator(node)
        if isinstance(kind, (Cat, Stack)):
            return [self._finest(value) for value in node.all_input_nodes]
        if type(kind) in _CURVES:
            return self._bent(node, _CURVES[type(kind)])
        if isinstance(kind, ScalarArithmetic):
            return [self._times(node.all_input_nodes[0], abs(kind.scalar) if isinstance(kind, MulScalar) else 1.0)]
        if not isinstance(kind, (Add, Mul)):
            return []
        known = {value: self._constant(value) for value in node.all_input_nodes}
        others = [value for value, constant in known.items() if constant is None]
        constants = [constant for constant in known.values() if constant is not None]
        if len(others) != 1 or len(constants) != 1:
            return []
        sizes = constants[0].detach().abs()
        is_product = isinstance(kind, Mul) and bool(sizes.any())
        return [self._times(others[0], float(sizes[sizes > 0].min()) if is_product else 1.0)]

    def _bent(self, node: fx.Node, curve: Callable[[Tensor], Tensor]) -> list[_Part]:
        """What a kernel with a range of its own is given, in the steps it would have if it were spread over 256."""
        given = source(self.graph_module, node.all_input_nodes[0])
        if given is None or not has_seen(given.observer):
            return []
        step, zero_point = given.qparams()
        low, high = curve(torch.tensor([-zero_point * step, (255 - zero_point) * step])).tolist()
        return [_Part(node, (high - low) / 255)]

    def _times(self, value: fx.Node, factor: float) -> _Part:
        part = self._finest(value)
        return _Part(part.node, part.step * factor)

    def _constant(self, value: fx.Node) -> Tensor | None:
        """What a quantized constant is made of; None for what an input has a part in."""
        while carries(self.graph_module, value) and value.op != "get_attr" and value.all_input_nodes:
            value = value.all_input_nodes[0]
        if isinstance(submodule(self.graph_module, value), QuantStub):
            value = value.all_input_nodes[0]
        return constant_tensor(self.graph_module, value)


def _left(what: str, times: float) -> str:
    """What coarse steps leave of a part."""
    steps = 256 / times
    return f"in int8 {what} would have {f'{steps:.0f}' if steps >= 1 else 'less than one'} of 256 steps"
