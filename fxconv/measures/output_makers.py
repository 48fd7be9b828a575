"""What makes each output of a graph: the layer whose range it has, and the operands where it is put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

from fxconv.measures.channel_noise import PartNoise, operand_noise
from fxconv.models import forward
from fxconv.models.graph_calls import Inputs
from rewrites.kernels import KERNELS, Verdict
from rewrites.modules import Cat, Stack, WrappedCat
from rewrites.values import callee, submodule

# Images on which the operands of what is put together are looked at.
_LOOKED_AT = 4
_CATS: dict[Any, int] = {torch.cat: 0, torch.concat: 0, torch.concatenate: 0, torch.stack: 0}
# Of what hands on the range of its input, those that mix its values: one operand is not told from another any more.
_MIXING: frozenset[Any] = frozenset({torch.mean, Tensor.mean, nn.functional.adaptive_avg_pool2d})


def makers(graph: fx.GraphModule) -> list[str]:
    """Of each tensor that a graph returns, the layer whose range it has: its path, or the name of its node."""
    return [_name(_source(graph, node, _hands_on)) for node in _returned(graph)]


def operand_noises(floating: fx.GraphModule, int8: fx.GraphModule, images: Sequence[Inputs]) -> tuple[PartNoise, ...]:
    """The noise of each operand of what is put together for an output, about its mean, on the first few images.

    `floating` and `int8` have the same nodes.
    """
    joined = list(_joined(floating))
    if not joined:
        return ()
    places = {one.node: one.dim for one in joined}
    both = [_Operands(graph, places).of(images[:_LOOKED_AT]) for graph in (floating, int8)]
    found = list[PartNoise]()
    for one in joined:
        for index, layer in enumerate(one.layers):
            wanted, got = ([values[index] for values in kept[one.node]] for kept in both)
            noise = operand_noise(one.output, f"operand {index} of {one.label}, from {layer},", wanted, got)
            found += [noise] if noise is not None else []
    return tuple(found)


@dataclass(frozen=True)
class _Joined:
    """A node that puts its operands together along `dim`, each of the range of one of `layers`, for an output."""

    output: int
    node: str
    label: str
    dim: int
    layers: tuple[str, ...]


def _joined(graph: fx.GraphModule) -> Iterator[_Joined]:
    for output, last in enumerate(_returned(graph)):
        node = _source(graph, last, _keeps_values)
        dim = _dim(graph, node)
        if dim is None or not isinstance(node.args[0], (list, tuple)):
            continue
        operands = [operand for operand in node.args[0] if isinstance(operand, fx.Node)]
        layers = tuple(_name(_source(graph, operand, _hands_on)) for operand in operands)
        if len(operands) == len(node.args[0]):
            yield _Joined(output, node.name, _name(node), dim, layers)


def _returned(graph: fx.GraphModule) -> list[fx.Node]:
    (last,) = (node for node in graph.graph.nodes if node.op == "output")
    return [leaf for leaf in forward.leaves(last.args[0]) if isinstance(leaf, fx.Node)]


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


def _source(graph: fx.GraphModule, node: fx.Node, passes: Callable[[fx.GraphModule, fx.Node], bool]) -> fx.Node:
    """The first node, from `node` backwards, that is not one of those that `passes`."""
    while passes(graph, node) and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return node


def _hands_on(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the values of a node have the range of its input's."""
    if isinstance(submodule(graph, node), (QuantStub, DeQuantStub, nn.Identity)):
        return True
    called = callee(graph, node)
    row = KERNELS.get(called) if called is not None else None
    return row is not None and row.verdict is Verdict.FOLLOWS


def _keeps_values(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the values of a node are those of its input, however they lie in it."""
    called = callee(graph, node)
    is_layer = isinstance(called, type) and not issubclass(
        called, (QuantStub, DeQuantStub, nn.Identity, nn.Flatten, nn.Unflatten)
    )
    return _hands_on(graph, node) and not is_layer and called not in _MIXING


def _dim(graph: fx.GraphModule, node: fx.Node) -> int | None:
    """The dimension along which a node puts tensors together; None where it does not."""
    module = submodule(graph, node)
    if isinstance(module, WrappedCat):
        module = module.op
    if isinstance(module, (Cat, Stack)):
        return module.dim
    called = callee(graph, node)
    if called not in _CATS:
        return None
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return dim if isinstance(dim, int) else None


class _Operands(fx.Interpreter):
    """Runs a graph, and keeps the operands of some of its nodes as they are in what those give."""

    def __init__(self, graph: fx.GraphModule, places: dict[str, int]) -> None:
        super().__init__(graph)
        self.places = places
        self.kept: dict[str, list[list[Tensor]]] = {name: [] for name in places}

    def of(self, images: Sequence[Inputs]) -> dict[str, list[list[Tensor]]]:
        """By the name of the node, for each image."""
        forward.outputs(self.run, images)
        return self.kept

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        result = super().run_node(n)
        if n.name in self.places and isinstance(result, Tensor):
            operands, _ = self.fetch_args_kwargs_from_env(n)
            dim, values = self.places[n.name], result.dequantize() if result.is_quantized else result
            if len(operands[0]) and operands[0][0].ndim < values.ndim:  # stacked
                pieces = list(values.split(1, dim))
            else:
                pieces = list(values.split([operand.shape[dim] for operand in operands[0]], dim))
            self.kept[n.name].append([piece.clone() for piece in pieces])
        return result
