"""The sizes of the values in a graph, in two calls: what differs between them is free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from fxconv.targets.qdq.rules.qdq_nodes import SIZES


def record_sizes(graph_module: fx.GraphModule, inputs: Sequence[tuple[Any, ...]]) -> None:
    """Put the sizes of each node's value into its meta: of a tensor one tuple, of several in a tuple one of each.

    `inputs` are the arguments of one or more calls; a size that differs between calls is None.
    """
    found: dict[fx.Node, list[Any]] = {}
    for arguments in inputs:
        # Nothing is computed: the sizes alone are worked out.
        with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
            reader = _Reader(graph_module)
            reader.run(*tree_map(lambda value: _faked(fake, value), arguments))
        for node, value in reader.found.items():
            found.setdefault(node, []).append(value)
    for node, values in found.items():
        node.meta[SIZES] = _common(values)


def lacks_sizes(graph_module: fx.GraphModule) -> bool:
    """Whether some call was written after the sizes were recorded."""
    return any(SIZES not in node.meta for node in graph_module.graph.nodes if node.op.startswith("call_"))


class _Reader(fx.Interpreter):
    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        self.found: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        result = super().run_node(n)
        self.found[n] = _sizes_of(result)
        return result


def _faked(fake: FakeTensorMode, value: Any) -> Any:
    return fake.from_tensor(value) if isinstance(value, Tensor) else value


def _sizes_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(int(size) for size in value.shape)
    if isinstance(value, (tuple, list)) and any(isinstance(each, Tensor) for each in value):
        return tuple(_sizes_of(each) for each in value)
    return None


def _common(values: list[Any]) -> Any:
    """One value of those that calls gave, with None where they differ."""
    first = values[0]
    if all(value == first for value in values):
        return first
    if all(isinstance(value, tuple) and len(value) == len(first) for value in values):
        return tuple(_common(list(members)) for members in zip(*values, strict=True))
    return None
