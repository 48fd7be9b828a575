"""A twin of what is lowered, which also returns every int8 value that it computes."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxconv.models import forward
from fxconv.targets.qdq.proof.values import Value, int8_values
from fxconv.targets.qdq.writer import VALUE
from rewrites.parts import graphs_in

_MODULE = "fxconv_told"


@dataclass
class _Told:
    """What the graphs give while the whole runs once. No list, lest an export takes it for a part of the module."""

    values: list[Tensor] = field(default_factory=list)
    whose: list[Value] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)

    def clear(self) -> None:
        self.values, self.whose, self.calls = [], [], {}


class _Teller(nn.Module):
    """Stands at the end of a graph, is given its int8 values, and gives nothing."""

    def __init__(self, path: str, names: list[tuple[str, int]], told: _Told) -> None:
        super().__init__()
        self.path, self.names, self.told = path, names, told

    def forward(self, *values: Tensor) -> None:
        """Put the values aside."""
        call = self.told.calls.get(self.path, 0)
        self.told.calls[self.path] = call + 1
        self.told.values += values
        self.told.whose += [Value(self.path, node, index, call) for node, index in self.names]


class Twin(nn.Module):
    """Returns what the Q/DQ module returns, and behind that a tuple of every int8 value in it, in running order.

    `whose` says of each value what it is, once the twin has run.
    """

    def __init__(self, qdq: nn.Module) -> None:
        super().__init__()
        self.told = _Told()
        self.inner = copy.deepcopy(qdq)
        for path, graph in graphs_in(self.inner).items():
            _tell(path, graph, self.told)

    def forward(self, *inputs: Any) -> tuple[Any, tuple[Tensor, ...]]:
        """The outputs, and the int8 values."""
        self.told.clear()
        outputs = self.inner(*inputs)
        return outputs, tuple(self.told.values)

    @property
    def whose(self) -> tuple[Value, ...]:
        """Of which node each value is."""
        return tuple(self.told.whose)


def twin_of(qdq: nn.Module, example: tuple[Any, ...]) -> Twin:
    """The twin of a Q/DQ module, after one run on the tensors of one call."""
    twin = Twin(qdq)
    with torch.no_grad():
        twin(*forward.cloned(example))
    return twin


def split(outputs: list[list[Tensor]], whose: Iterable[Value]) -> tuple[forward.Outputs, list[dict[Value, Tensor]]]:
    """What a file of the twin returned for each image, flat, as the model's own outputs and the int8 values."""
    known = list(whose)
    returned = [leaves[: len(leaves) - len(known)] for leaves in outputs]
    values = [dict(zip(known, leaves[len(leaves) - len(known) :], strict=True)) for leaves in outputs]
    return returned, values


def _tell(path: str, graph: fx.GraphModule, told: _Told) -> None:
    """Let a graph hand its int8 values over before it returns."""
    nodes = int8_values(graph)
    if not nodes:
        return
    names = [node.meta[VALUE] for node in nodes]
    graph.add_submodule(_MODULE, _Teller(path, names, told))
    with graph.graph.inserting_before(graph.graph.output_node()):
        graph.graph.call_module(_MODULE, tuple(nodes))
    graph.recompile()
