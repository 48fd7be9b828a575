"""Where a channel may be scaled: the layers that make its values, the sums that join them, the layers that read them.

A channel that is divided by s where it is made has to be multiplied by s wherever it is read. Through a sum the factor
has to be the same on both sides, so that all blocks of a residual stage make one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.ao.nn.intrinsic as nni
from torch import Tensor, fx, nn
from torch.ao.nn.quantized import FloatFunctional

from fxconv.quantization.forward_hooks import ForwardHooks
from rewrites.fusion import weighted
from rewrites.modules import Add, AddReLU, CappedReLU, ChannelReLU
from rewrites.parts import graphs_in, prefixed
from rewrites.readers import value_readers
from rewrites.values import calls_of, modules_read_inside, submodule

_ALONE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_FUSED = (nni.ConvReLU1d, nni.ConvReLU2d, nni.ConvReLU3d, nni.LinearReLU)
# What hands channels on as they are (twice the input gives twice the output), and the dimensions behind them it pools.
_POOLS = {
    nn.MaxPool1d: 1, nn.AvgPool1d: 1,
    nn.MaxPool2d: 2, nn.AvgPool2d: 2, nn.AdaptiveAvgPool2d: 2, nn.AdaptiveMaxPool2d: 2,
}  # fmt: skip


@dataclass(frozen=True)
class ChannelGroup:
    """Values with the same channels, by the paths of the modules that make them.

    `layers` make values from others, `sums` add two values of the group each: those named. `readers` are layers that
    read one value each, the one named. Nothing else reads any of the values but pooling, and a flattening of one value
    a channel, before a reader. All layers have weights of their own and run once. A layer may be a reader as well.
    With `keeps_constants` what is added to a channel everywhere arrives at the readers as it is, and no reader pads.
    """

    layers: tuple[str, ...]
    sums: Mapping[str, tuple[str, str]]
    readers: Mapping[str, str]
    keeps_constants: bool

    @property
    def values(self) -> tuple[str, ...]:
        """The modules whose outputs these are."""
        return (*self.layers, *self.sums)


class ChannelExtremes(ForwardHooks):
    """The least and greatest value of each channel that may be scaled or moved, over all that a module runs on.

    `lows` and `highs` have them by the path of the layer or sum, `[C]`. They are noted while this is entered.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.lows: dict[str, Tensor] = {}
        self.highs: dict[str, Tensor] = {}
        for group in channel_groups(module):
            behind = weighted(module.get_submodule(group.layers[0])).weight.ndim - 2
            for path in group.values:
                part = module.get_submodule(path)
                # behind a ReLU the least matters only where it can be taken off
                least = None if group.keeps_constants or not has_relu(part) else torch.zeros(())
                self.watched[part] = self._noting(path, behind, least)

    def add(self, other: ChannelExtremes) -> None:
        """Take in what another one noted of the same groups, in a copy of the module."""
        for own, theirs, end in ((self.lows, other.lows, torch.minimum), (self.highs, other.highs, torch.maximum)):
            own.update({path: end(own[path], value) if path in own else value for path, value in theirs.items()})

    def _noting(self, path: str, behind: int, least: Tensor | None) -> Any:
        """Behind the channels there are so many dimensions."""

        def note(_: nn.Module, __: Any, output: Tensor) -> None:
            if not output.numel():
                return  # a head that nothing was found for
            channel = output.ndim - 1 - behind
            others = [dim for dim in range(output.ndim) if dim != channel]
            high = output.amax(others)
            low = output.amin(others) if least is None else least.expand_as(high)
            self.highs[path] = torch.maximum(self.highs.get(path, high), high)
            self.lows[path] = torch.minimum(self.lows.get(path, low), low)

        return note


def channel_groups(module: nn.Module) -> Iterator[ChannelGroup]:
    """The groups of a fused module, in running order of their first layers."""
    shared = _shared_weights(module)
    for place, graph in graphs_in(module).items():
        found = _Groups(graph, shared)
        for group in found.groups():
            named = {node: prefixed(place, str(node.target)) for node in graph.graph.nodes if node.op == "call_module"}
            yield ChannelGroup(
                tuple(named[node] for node in group.layers),
                {named[node]: (named[a], named[b]) for node, (a, b) in group.sums.items()},
                {named[node]: named[value] for node, value in group.readers.items()},
                group.keeps_constants,
            )


@dataclass
class _Nodes:
    layers: list[fx.Node]
    sums: dict[fx.Node, tuple[fx.Node, fx.Node]]
    readers: dict[fx.Node, fx.Node]
    between: dict[fx.Node, list[nn.Module | None]]
    keeps_constants: bool = True


class _Groups:
    """The groups of one graph."""

    def __init__(self, graph: fx.GraphModule, shared: set[int]) -> None:
        self.graph = graph
        self.read, self.shared = modules_read_inside(graph), shared
        nodes = list(graph.graph.nodes)
        self.layers: dict[fx.Node, Any] = {node: submodule(graph, node) for node in nodes if self._is_own(node)}
        self.sums = {node for node in nodes if self._is_sum(node)}

    def _is_own(self, node: fx.Node) -> bool:
        """Whether a node calls a layer that may be changed: called once, and its weights nobody else's."""
        part = submodule(self.graph, node)
        if part is None or type(part) not in (*_ALONE, *_FUSED) or len(calls_of(self.graph, node)) > 1:
            return False
        layer = weighted(part)
        is_read = bool(self.read & {id(part), id(layer)})
        return not is_read and id(layer.weight) not in self.shared and id(layer.bias) not in self.shared

    def _is_sum(self, node: fx.Node) -> bool:
        part = submodule(self.graph, node)
        # one with a cap caps all channels alike
        is_plain = type(part) in (Add, AddReLU) and type(part.op) is FloatFunctional  # type: ignore[union-attr]
        return is_plain and len(calls_of(self.graph, node)) == 1 and len(node.all_input_nodes) == len(node.args) == 2

    def groups(self) -> Iterator[_Nodes]:
        """Every group, once."""
        done = set[fx.Node]()
        for node in self.layers:
            if node not in done and (found := self._around(node)) is not None:
                done.update(found.layers)
                yield found

    def _around(self, start: fx.Node) -> _Nodes | None:
        """The group of what `start` gives; None when something in it is read by what minds a factor."""
        found, queue = _Nodes([], {}, {}, {}), [start]
        while queue:
            value = queue.pop()
            if value in found.layers or value in found.sums:
                continue
            if value in self.layers:
                found.layers.append(value)
            elif value in self.sums:
                found.sums[value] = (value.args[0], value.args[1])  # type: ignore[assignment]
                found.keeps_constants &= isinstance(submodule(self.graph, value), Add)
                queue.extend(value.all_input_nodes)
            else:
                return None
            for user, between in self._users(value):
                found.keeps_constants &= all(_keeps_constants(part) for part in between)
                if user in self.sums and not between:
                    queue.append(user)
                elif user in self.layers:
                    found.readers[user], found.between[user] = value, between
                    found.keeps_constants &= not _pads(weighted(self.layers[user]))
                else:
                    return None
        return found if self._fits(found) else None

    def _users(self, value: fx.Node) -> Iterator[tuple[fx.Node, list[nn.Module | None]]]:
        """What computes with a value, and the pools between, None for a flattening; sums must not follow any."""
        queue: list[tuple[fx.Node, list[nn.Module | None]]] = [(user, []) for user in value_readers(value)]
        while queue:
            user, between = queue.pop()
            part = submodule(self.graph, user)
            # what is flattened has no dimensions left to pool but the channels
            if _flattens(self.graph, user) or (type(part) in _POOLS and None not in between):
                pool = part if type(part) in _POOLS else None
                queue.extend((next_one, [*between, pool]) for next_one in value_readers(user))
            else:
                yield user, between

    def _fits(self, found: _Nodes) -> bool:
        """Whether all layers make and read the same channels along the same axis."""
        order = {node: place for place, node in enumerate(self.graph.graph.nodes)}
        found.layers.sort(key=order.__getitem__)
        made = [weighted(self.layers[node]).weight for node in found.layers]
        read = {channels_in(weighted(self.layers[node])) for node in found.readers}
        if len({(weight.shape[0], weight.ndim) for weight in made}) > 1 or read != {made[0].shape[0]}:
            return False
        return all(self._is_along(reader, between, made[0].ndim) for reader, between in found.between.items())

    def _is_along(self, reader: fx.Node, between: list[nn.Module | None], made: int) -> bool:
        """Whether a layer reads along the channels of values from weights of so many dimensions, and pools behind them.

        A linear layer's channels are the last dimension, and so are those of what was flattened.
        """
        pooled = {_POOLS[type(part)] for part in between if part is not None}
        return pooled <= {made - 2} and weighted(self.layers[reader]).weight.ndim == (2 if None in between else made)


def _flattens(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node flattens all dimensions from an image's channels on; from others on it makes other channels."""
    part = submodule(graph, node)
    if isinstance(part, nn.Flatten):
        return (part.start_dim, part.end_dim) == (1, -1)
    if node.target not in (torch.flatten, "flatten"):
        return False
    given = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | node.kwargs
    return (given.get("start_dim", 0), given.get("end_dim", -1)) == (1, -1)


def _keeps_constants(between: Any) -> bool:
    """Whether pooling gives c more for inputs that are all c more; None is a flattening."""
    if isinstance(between, (nn.AvgPool1d, nn.AvgPool2d)):
        is_plain = not any(_numbers(between.padding)) and not between.ceil_mode
        return is_plain and getattr(between, "divisor_override", None) is None
    return True


def _pads(layer: Any) -> bool:
    """Whether a layer reads zeros that no channel gave."""
    padding = getattr(layer, "padding", 0)
    return padding == "same" or (padding != "valid" and any(_numbers(padding)))


def _numbers(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def channels_in(layer: Any) -> int:
    """How many channels a layer reads."""
    return int(layer.weight.shape[1] * getattr(layer, "groups", 1))


def has_relu(part: nn.Module) -> bool:
    """Whether what a layer or a sum gives is at least 0."""
    return isinstance(part, (nn.Sequential, AddReLU))


def cap(part: nn.Module) -> float | None:
    """The cap of the ReLU6 that is fused with a layer; None without one."""
    own = part[1] if isinstance(part, nn.Sequential) else None
    return own.cap if isinstance(own, (CappedReLU, ChannelReLU)) else None


def _shared_weights(module: nn.Module) -> set[int]:
    """Identities of the parameters that several modules hold."""
    seen, twice = set[int](), set[int]()
    for part in module.modules():
        for parameter in part._parameters.values():
            if parameter is not None:
                (twice if id(parameter) in seen else seen).add(id(parameter))
    return twice
