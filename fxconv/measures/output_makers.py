"""What makes the outputs of a graph: the layers they come from, by whose channels they are judged, and their operands.

An output may be laid out in any way: channels last, rows of boxes, cut into anchors. The layer it comes from knows
which of its dimensions are the channels, so its values are looked at, where nothing behind it mixes them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

from fxconv.measures.channel_noise import OutputParts, PartNoise, operand_noise
from fxconv.models import forward
from rewrites.fusion import weighted
from rewrites.kernels import KERNELS, Verdict
from rewrites.modules import Add, AddReLU, Arithmetic, Cat, Mul, ScalarArithmetic, Stack, Wrapped
from rewrites.values import callee, submodule

_CATS: frozenset[Any] = frozenset({torch.cat, torch.concat, torch.concatenate, torch.stack})
# Of what hands on the range of its input, those that mix its values: one channel is not told from another any more.
_MIXING: frozenset[Any] = frozenset({torch.mean, Tensor.mean, F.adaptive_avg_pool2d})
# Those that give each value for itself, or put values beside each other.
_FOR_ITSELF: frozenset[Any] = frozenset(
    {
        *(torch.sigmoid, Tensor.sigmoid, torch.tanh, Tensor.tanh, torch.exp, Tensor.exp, torch.relu, F.relu, F.relu6),
        *(torch.clamp, Tensor.clamp, torch.abs, Tensor.abs, torch.neg, Tensor.neg, torch.square, Tensor.square),
        *(
            operator.add,
            operator.sub,
            operator.mul,
            operator.truediv,
            operator.neg,
            operator.pow,
            torch.pow,
            Tensor.pow,
        ),
        *(torch.add, torch.sub, torch.mul, torch.div, Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, operator.getitem),
        *(torch.complex, torch.view_as_complex, F.pixel_shuffle, Tensor.float, Tensor.to),
        *(nn.Sigmoid, nn.Tanh, nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.PixelShuffle, nn.Dropout, nn.Identity),
        *(nn.Flatten, nn.Unflatten, QuantStub, DeQuantStub),
        *_CATS,
    }
)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# A cure names so many layers, and no more nodes than these are looked through for them.
_NAMED, _LOOKED_THROUGH = 3, 64


@dataclass(frozen=True)
class OutputLayer:
    """A node that an output comes from without its channels being mixed: its name, and which dimension they are."""

    output: int
    node: str
    label: str
    dim: int


@dataclass(frozen=True)
class Joined:
    """A node that puts its operands together along `dim`, each made by one of `layers`, for an output."""

    output: int
    node: str
    label: str
    dim: int
    layers: tuple[str, ...]


def makers(graph: fx.GraphModule) -> list[str]:
    """Of each tensor that a graph returns, the int8 layers it comes from, as `--keep-float` takes them.

    Where it comes from none, the operation that gives it.
    """
    found = []
    for node in _returned(graph):
        names = dict.fromkeys(_name(one) for one in _int8_makers(graph, node))
        found.append(", ".join(list(names)[:_NAMED]) or _name(node))
    return found


def output_layers(graph: fx.GraphModule) -> list[OutputLayer]:
    """The layers that the outputs of a graph come from with their channels apart."""
    found = list[OutputLayer]()
    for output, node in enumerate(_returned(graph)):
        for one in _sources(graph, node):
            dim = _channels(graph, one)
            if dim is not None:
                found.append(OutputLayer(output, one.name, _name(one), dim))
    return found


def joined(graph: fx.GraphModule) -> list[Joined]:
    """What puts operands together for an output of a graph, none of whose values is mixed behind it."""
    found = list[Joined]()
    for output, last in enumerate(_returned(graph)):
        node = last
        while _keeps_values(graph, node) and node.all_input_nodes:
            node = node.all_input_nodes[0]
        dim = _dim(graph, node)
        if dim is None or not isinstance(node.args[0], (list, tuple)):
            continue
        operands = [operand for operand in node.args[0] if isinstance(operand, fx.Node)]
        layers = tuple(", ".join(dict.fromkeys(map(_name, _int8_makers(graph, one)))) or _name(one) for one in operands)
        if len(operands) == len(node.args[0]):
            found.append(Joined(output, node.name, _name(node), dim, layers))
    return found


def watched(graph: fx.GraphModule) -> set[str]:
    """The names of the nodes whose values are looked at for the sake of the outputs, operands included."""
    names = {one.node for one in output_layers(graph)}
    for node in graph.graph.nodes:
        if node.name in {one.node for one in joined(graph)}:
            names |= {node.name, *(operand.name for operand in node.all_input_nodes)}
    return names


def layer_noises(
    graph: fx.GraphModule, wanted: Mapping[str, Sequence[Tensor]], got: Mapping[str, Sequence[Tensor]]
) -> tuple[PartNoise, ...]:
    """The noise of each channel of the layers that the outputs come from, and of each operand put together for one.

    `wanted` and `got` have the values of the `watched` nodes in float and in int8, for each image.
    """
    found = list[PartNoise]()
    for one in output_layers(graph):
        parts = OutputParts(one.output)
        for a, b in zip(wanted.get(one.node, ()), got.get(one.node, ()), strict=True):
            parts.add(_channels_second(a, one.dim), _channels_second(b, one.dim), is_by_channel=True)
        found += [replace(part, layer=one.label) for part in parts.noises() if part.part]
    for cat in joined(graph):
        for index, layer in enumerate(cat.layers):
            both = [_operand(graph, cat, index, kept) for kept in (wanted, got)]
            noise = operand_noise(cat.output, f"operand {index} of {cat.label}", *both)
            found += [replace(noise, layer=layer)] if noise is not None else []
    return tuple(found)


def _channels_second(value: Tensor, dim: int) -> Tensor:
    """A layer's values with its channels behind the batch; of one image alone, whose batch was squeezed, behind one."""
    return value[None] if value.ndim == 1 else value.movedim(dim, 1)


def judged_outputs(graph: fx.GraphModule) -> set[int]:
    """The outputs that are judged by the channels of all layers that they come from."""
    open_ended = {
        output
        for output, node in enumerate(_returned(graph))
        for one in _sources(graph, node)
        if _channels(graph, one) is None
    }
    return set(range(len(_returned(graph)))) - open_ended


def _operand(graph: fx.GraphModule, one: Joined, index: int, kept: Mapping[str, Sequence[Tensor]]) -> list[Tensor]:
    """One operand as it is in what was put together, for each image."""
    (node,) = (node for node in graph.graph.nodes if node.name == one.node)
    names = [operand.name for operand in node.args[0]]
    pieces = []
    for number, whole in enumerate(kept[one.node]):
        operands = [kept[name][number] for name in names]
        if operands[0].ndim < whole.ndim:  # stacked
            pieces.append(whole.select(one.dim, index))
        else:
            pieces.append(whole.split([operand.shape[one.dim] for operand in operands], one.dim)[index])
    return pieces


def _returned(graph: fx.GraphModule) -> list[fx.Node]:
    (last,) = (node for node in graph.graph.nodes if node.op == "output")
    return [leaf for leaf in forward.leaves(last.args[0]) if isinstance(leaf, fx.Node)]


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


def _sources(graph: fx.GraphModule, node: fx.Node) -> Iterable[fx.Node]:
    """The nodes that a value comes from with every value of them for itself."""
    left, seen, found = [node], set[fx.Node](), dict[fx.Node, None]()
    while left and len(seen) < _LOOKED_THROUGH:
        one = left.pop()
        if one in seen:
            continue
        seen.add(one)
        if _channels(graph, one) is None and _keeps_apart(graph, one) and one.all_input_nodes:
            left += one.all_input_nodes
        elif one.op != "get_attr":
            found[one] = None
    return found


def _int8_makers(graph: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """The operations whose int8 values a float value is made of, whatever was done to them since."""
    left, seen = [node], set[fx.Node]()
    while left and len(seen) < _LOOKED_THROUGH:
        one = left.pop(0)
        if one in seen:
            continue
        seen.add(one)
        if isinstance(submodule(graph, one), DeQuantStub):
            maker = one.all_input_nodes[0]
            while _hands_on(graph, maker) and maker.all_input_nodes:
                maker = maker.all_input_nodes[0]
            if maker.op != "placeholder" and not isinstance(submodule(graph, maker), QuantStub):
                yield maker
        else:
            left += one.all_input_nodes


def _channels(graph: fx.GraphModule, node: fx.Node) -> int | None:
    """Which dimension of a node's value are the channels of the layer that it calls; None where it calls none."""
    module = submodule(graph, node)
    if isinstance(module, (Add, AddReLU, Mul)):
        dims = {_channels(graph, one) for one in node.all_input_nodes}
        return dims.pop() if len(dims) == 1 else None
    if module is None or isinstance(module, (Arithmetic, Wrapped, QuantStub, DeQuantStub)):
        return None
    layer = weighted(module)
    if isinstance(layer, _LAYERS):
        return 1
    return -1 if isinstance(layer, nn.Linear) else None


def _keeps_apart(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node gives each value for itself, or values beside each other."""
    module = submodule(graph, node)
    called = callee(graph, node)
    if isinstance(module, (Cat, Stack, ScalarArithmetic, Add, Mul, AddReLU, Wrapped)) or called in _FOR_ITSELF:
        return True
    return _keeps_values(graph, node)


def _hands_on(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the values of a node have the range of its input's."""
    if isinstance(submodule(graph, node), (DeQuantStub, nn.Identity)):
        return True
    called = callee(graph, node)
    row = KERNELS.get(called) if called is not None else None
    return row is not None and row.verdict is Verdict.FOLLOWS


def _keeps_values(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the values of a node are those of its input, however they lie in it."""
    called = callee(graph, node)
    is_layer = isinstance(called, type) and not issubclass(called, (DeQuantStub, nn.Identity, nn.Flatten, nn.Unflatten))
    return _hands_on(graph, node) and not is_layer and called not in _MIXING


def _dim(graph: fx.GraphModule, node: fx.Node) -> int | None:
    """The dimension along which a node puts tensors together; None where it does not."""
    module = submodule(graph, node)
    if isinstance(module, Wrapped):
        module = module.op
    if isinstance(module, (Cat, Stack)):
        return module.dim
    if callee(graph, node) not in _CATS:
        return None
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return dim if isinstance(dim, int) else None
