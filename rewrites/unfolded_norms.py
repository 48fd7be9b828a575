"""The batch norms that run as operations of their own, each with the reason why no layer does its work."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

from rewrites.channel_axis import Channels, moved, moved_or_averaged
from rewrites.diff import call_name
from rewrites.fusion import CONVOLUTIONS, HEADS, NEXT, NORMS, Fusion, channels_behind, keeps_statistics
from rewrites.modules import Add, AddReLU, AddScalar
from rewrites.readers import value_readers
from rewrites.values import submodule


@dataclass(frozen=True)
class UnfoldedNorm:
    """A batch norm, by its node, and why it is not folded into a layer."""

    node: str
    reason: str


def unfolded_norms(graph_module: fx.GraphModule) -> Iterator[UnfoldedNorm]:
    """The batch norms of a graph that are folded into no layer in front of them or behind them, in running order."""
    fusion = Fusion(graph_module)
    folded = {*fusion.forward, *(node for chain in fusion.chains for node in chain[1:])}
    for node in graph_module.graph.nodes:
        if type(submodule(graph_module, node)) in NORMS and node not in folded:
            yield UnfoldedNorm(node.name, _Reason(fusion, node).text())


class _Reason:
    """Why one batch norm stands alone."""

    def __init__(self, fusion: Fusion, norm: fx.Node) -> None:
        self.fusion, self.graph_module, self.norm = fusion, fusion.graph_module, norm

    def text(self) -> str:
        if not keeps_statistics(submodule(self.graph_module, self.norm)):
            return "it keeps no running statistics: it normalizes by those of its input"
        if (own := self._not_alone(self.norm)) is not None:
            return f"it {own}"
        return self._as_a_branch() or f"{self._in_front()}; {self._behind()}"

    def _as_a_branch(self) -> str | None:
        """Why it is not merged into a convolution whose output is added to its own; None where there is none."""
        given = self.norm.all_input_nodes[0]
        beside = [node for node in value_readers(given) if type(submodule(self.graph_module, node)) in CONVOLUTIONS]
        kinds = {type(submodule(self.graph_module, reader)) for reader in value_readers(self.norm)}
        if not beside or not kinds <= {Add, AddReLU, AddScalar}:
            return None
        return (
            f"it is a branch by itself, added to what {beside[0].name} makes of the same value, and merge-branches did "
            "not merge the two"
        )

    def _not_alone(self, node: fx.Node) -> str | None:
        """What else a module is used for, if anything is."""
        module = submodule(self.graph_module, node)
        if (calls := self.fusion.calls[id(module)]) > 1:
            return f"is called {calls} times, with one set of weights"
        return "has weights that are also read by name" if id(module) in self.fusion.read else None

    def _way_back(self) -> list[fx.Node]:
        """What the values it normalizes come from: the operation that computes them, and what moves them since."""
        way = [self.norm.all_input_nodes[0]]
        while way[0].all_input_nodes and (self._moves(way[0]) or self._is_stub(way[0])):
            way.insert(0, way[0].all_input_nodes[0])
        return way

    def _moves(self, node: fx.Node) -> bool:
        """Whether a node moves values, of whatever dimensions."""
        return any(
            moved(self.graph_module, node, Channels(count, axis, rank)) is not None
            for rank in (2, 3, 4, 5)
            for axis, count in ((1, 0), (rank - 1, self._features()))
        )

    def _features(self) -> int:
        norm: Any = submodule(self.graph_module, self.norm)
        return int(norm.num_features)

    def _is_stub(self, node: fx.Node) -> bool:
        return isinstance(submodule(self.graph_module, node), (QuantStub, DeQuantStub))

    def _named(self, reader: fx.Node) -> list[str]:
        """The name of a reader; of a stub those of who reads it."""
        return [user.name for user in value_readers(reader)] if self._is_stub(reader) else [reader.name]

    def _in_front(self) -> str:
        """Why it is not folded into what computes its input."""
        source, *views = self._way_back()
        named = f"{source.name} ({self._kind(source)}), in front of it,"
        if type(submodule(self.graph_module, source)) not in HEADS:
            return f"{named} is no convolution or linear layer"
        if (others := self._not_alone(source)) is not None:
            return f"{named} {others}"
        for value, reader in zip([source, *views], [*views, self.norm], strict=True):
            others_reading = [name for user in value_readers(value) if user is not reader for name in self._named(user)]
            if others_reading:
                read = "its input" if reader is self.norm else f"what {value.name} gives"
                return f"{read} is read elsewhere too, by {', '.join(others_reading)}"
        if (other := self._other_dimension(source, views)) is not None:
            return other
        is_int8 = any(isinstance(submodule(self.graph_module, view), DeQuantStub) for view in views)
        return f"{named} runs in {'int8' if is_int8 else 'float'}, and it does not"

    def _other_dimension(self, source: fx.Node, views: list[fx.Node]) -> str | None:
        """Why the channels it normalizes are not those of the layer in front of it; None where they are."""
        layer = submodule(self.graph_module, source)
        channels = channels_behind(self.graph_module, source)
        for view in itertools.filterfalse(self._is_stub, views):
            channels = moved(self.graph_module, view, channels) if channels is not None else None
        if channels is None and isinstance(layer, nn.Linear):
            return f"how many dimensions {source.name} gives is not known, and its features are the last"
        if isinstance(layer, nn.Linear) and channels is not None and channels.axis != 1:
            tokens = "over tokens, " if channels.rank == 3 else ""
            return f"{tokens}it normalizes the second dimension, and the features of {source.name} are the last"
        if channels == Channels(self._features(), 1, channels.rank if channels is not None else 0):
            return None
        return f"it normalizes other channels than {source.name} gives"

    def _behind(self) -> str:
        """Why it is not folded into what reads it."""
        queue = [(self.norm, channels_behind(self.graph_module, self.norm))]
        while queue:
            value, channels = queue.pop(0)
            readers = value_readers(value)
            for reader in readers:
                layer = type(submodule(self.graph_module, reader)) in NEXT
                if layer and (others := self._not_alone(reader)) is not None:
                    return f"{reader.name}, which reads it, {others}"
                if layer and channels is not None and (why := self.fusion.hindrance(reader, channels)) is not None:
                    return why
                if self._is_stub(reader):
                    queue.append((reader, channels))
                elif not layer:
                    further = moved_or_averaged(self.graph_module, reader, channels) if channels is not None else None
                    if further is None:
                        return f"{reader.name} ({self._kind(reader)}), which reads it, is no layer to fold it into"
                    queue.append((reader, further))
        return "nothing that reads it is a layer to fold it into"

    def _kind(self, node: fx.Node) -> str:
        if node.op.startswith("call_"):
            return call_name(self.graph_module, node)
        return "an input" if node.op == "placeholder" else "a constant"
