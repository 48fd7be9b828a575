"""What writes the nodes of a Q/DQ graph: operations, constants, and the quantize and dequantize around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401 - it registers the operators

from fxconv.targets.qdq.ranges import Integers, Range

QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default
DEQUANTIZE_CHANNELS = torch.ops.quantized_decomposed.dequantize_per_channel.default

# The node of the int8 graph, and which of its values, that a quantize node holds.
VALUE = "int8"
# The name of the node of the int8 graph that a float operation stands for.
SOURCE = "int8_source"


class Writer:
    """A graph that grows. `attributes` are the tensors and modules that it names; `at` is the int8 node it writes."""

    def __init__(self, integers: Integers, integer_biases: bool) -> None:
        self.graph = fx.Graph()
        self.attributes: dict[str, Tensor | nn.Module] = {}
        self.integers = integers
        self.integer_biases = integer_biases
        self.ranges: dict[fx.Node, Range] = {}
        self.at: fx.Node

    @property
    def path(self) -> str:
        """Where constants of the operation that is written go."""
        return str(self.at.target) if self.at.op == "call_module" else self.at.name

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """A float operation that stands for the int8 one that is written."""
        return self._sourced(self.graph.create_node("call_function", function, args, kwargs, self._name(function)))

    def call_method(self, name: str, *args: Any, **kwargs: Any) -> fx.Node:
        """A method of a tensor that stands for the int8 operation that is written."""
        return self._sourced(self.graph.create_node("call_method", name, args, kwargs, self.at.name))

    def _sourced(self, node: fx.Node) -> fx.Node:
        node.meta[SOURCE] = self.at.name
        return node

    def _name(self, function: Callable[..., Any]) -> str:
        return f"{self.at.name}_{getattr(function, '__name__', 'float').lstrip('_').split('.')[0]}"

    def constant(self, name: str, value: Tensor) -> fx.Node:
        """A tensor that belongs to the operation that is written; one and the same tensor is held once."""
        path, count = f"{self.path}.{name}", 0
        while (held := self.attributes.get(path)) is not None and not _is_same(held, value):
            count += 1
            path = f"{self.path}.{name}_{count}"
        self.attributes[path] = value
        return self.graph.create_node("get_attr", path, name=f"{self.at.name}_{name.rpartition('.')[2]}")

    def quantized(self, value: Any, known: Range, index: int = 0) -> fx.Node:
        """The node that gives a value's integers; `index` says which of the int8 operation's values it is."""
        name = f"{self.at.name}_q" if not index else f"{self.at.name}_q{index}"
        node = self.graph.create_node("call_function", QUANTIZE, (value, *self._settings(known)), name=name)
        node.meta[VALUE] = (self.at.name, index)
        self.ranges[node] = known
        return node

    def dequantized(self, integers: fx.Node) -> fx.Node:
        """A node of its own for each that reads a quantized value."""
        settings = self._settings(self.ranges[integers])
        name = f"{integers.name}_dq"
        return self.graph.create_node("call_function", DEQUANTIZE, (integers, *settings), name=name)

    def _settings(self, known: Range) -> tuple[Any, ...]:
        zero_point = known.zero_point - self.integers.offset
        return known.scale, zero_point, self.integers.least, self.integers.most, self.integers.dtype


def _is_same(held: Tensor | nn.Module, value: Tensor) -> bool:
    return isinstance(held, Tensor) and (
        held is value or (held.dtype == value.dtype and held.shape == value.shape and torch.equal(held, value))
    )
