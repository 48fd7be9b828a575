"""Layers that one convolution can do the work of: what they are, whose weights they have, its kernel and bias."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from rewrites.base import Refusal
from rewrites.modules import bind
from rewrites.values import modules_read_inside, submodule


@dataclass(frozen=True)
class Branch:
    """A convolution, its batch norm, one of the two alone, or neither, of one value; `factor` times that is added."""

    value: fx.Node
    conv: fx.Node | None = None
    norm: fx.Node | None = None
    factor: float = 1.0

    @property
    def nodes(self) -> list[fx.Node]:
        """The calls it is made of, in running order."""
        return [node for node in (self.conv, self.norm) if node is not None]


@dataclass(frozen=True)
class Shape:
    """What a convolution is but for its numbers. Those of a branch without one are those of the identity."""

    kind: type[nn.Module]
    channels: tuple[int, int]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, conv: Any) -> Shape:
        channels = (conv.in_channels, conv.out_channels)
        return cls(type(conv), channels, conv.kernel_size, conv.stride, conv.padding, conv.groups)

    def of_identity(self) -> Shape:
        """That of the convolution that gives what it is given, beside one of this shape."""
        ones, zeros = (1,) * len(self.kernel), (0,) * len(self.kernel)
        return Shape(self.kind, (self.channels[0],) * 2, ones, ones, zeros, self.groups)

    def layer(self) -> Any:
        """A convolution of this shape, whose numbers lie nowhere yet."""
        make: Any = self.kind
        return make(*self.channels, self.kernel, self.stride, self.padding, 1, self.groups, False, device="meta")


class Kernels:
    """Writes a graph without inputs that works out what branches come to, in float64: a kernel or a bias."""

    def __init__(self, shape: Shape, first: fx.Node) -> None:
        """`first` is the convolution of one of the branches."""
        self.shape, self.first, self.graph = shape, first, fx.Graph()

    def _call(self, function: Callable[..., Any], *operands: Any) -> fx.Node:
        return self.graph.call_function(function, operands)

    def _method(self, name: str, *operands: Any) -> fx.Node:
        return self.graph.call_method(name, operands)

    def _read(self, node: fx.Node, name: str) -> fx.Node:
        return self._method("double", self.graph.get_attr(f"{node.target}.{name}"))

    def finish(self, terms: Sequence[fx.Node]) -> fx.Graph:
        """The graph that gives the sum of these."""
        total = terms[0]
        for term in terms[1:]:
            total = self._call(operator.add, total, term)
        self.graph.output(self._method("float", total))
        return self.graph

    def _factors(self, branch: Branch, norm: Any) -> fx.Node | None:
        """What a branch's batch norm multiplies each channel with, times the branch's own factor; None for one."""
        found = None
        if branch.norm is not None:
            shifted = self._call(operator.add, self._read(branch.norm, "running_var"), norm.eps)
            found = self._method("rsqrt", shifted)
            if norm.weight is not None:
                found = self._call(operator.mul, found, self._read(branch.norm, "weight"))
        if branch.factor != 1.0:
            found = self._ones() if found is None else found
            found = self._call(operator.mul, found, branch.factor)
        return found

    def _ones(self) -> fx.Node:
        """A one for each channel."""
        weight = self._method("flatten", self._read(self.first, "weight"), 1)
        return self._method("new_ones", weight, (self.shape.channels[1],))

    def kernel(self, branch: Branch, own: Shape, norm: Any) -> fx.Node:
        """A branch's kernel, with zeros around it."""
        groups, channels = self.shape.groups, self.shape.channels[1]
        factors = self._factors(branch, norm)
        behind = (1,) * len(own.kernel)
        if branch.conv is not None:
            kernel = self._read(branch.conv, "weight")
            if factors is not None:
                kernel = self._call(operator.mul, kernel, self._method("view", factors, -1, 1, *behind))
        else:  # each channel reads that of its group which it is itself
            each = self._method("view", factors or self._ones(), groups, channels // groups)
            kernel = self._method("view", self._method("diag_embed", each), channels, channels // groups, *behind)
        sides = [whole - part for whole, part in zip(self.shape.padding, own.padding, strict=True)]
        around = [side for side in reversed(sides) for _ in range(2)]  # the last dimension comes first
        return self._call(F.pad, kernel, tuple(around)) if any(around) else kernel

    def bias(self, branch: Branch, conv: Any, norm: Any) -> fx.Node | None:
        """What a branch adds to each channel; None for nothing."""
        factors = self._factors(branch, norm)
        found = self._read(branch.conv, "bias") if branch.conv is not None and conv.bias is not None else None
        if branch.norm is not None:
            mean = self._read(branch.norm, "running_mean")
            found = self._method("neg", mean) if found is None else self._call(operator.sub, found, mean)
        if found is not None and factors is not None:
            found = self._call(operator.mul, found, factors)
        if branch.norm is not None and norm.bias is not None:
            shift = self._read(branch.norm, "bias")
            if branch.factor != 1.0:
                shift = self._call(operator.mul, shift, branch.factor)
            found = self._call(operator.add, found, shift)
        return found


class Owners:
    """What is asked of a layer before its weights become part of another layer's."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module, self.read = graph_module, modules_read_inside(graph_module)
        self.calls = Counter(id(submodule(graph_module, node)) for node in graph_module.graph.nodes)
        self.worked_out = {id(one.value) for one in graph_module.meta.get("folded", ())}

    def check(self, node: fx.Node, role: str = "") -> None:
        """Raises `Refusal` for weights that are not this one call's alone, or not float32; `role` says what it is."""
        module: Any = submodule(self.graph_module, node)
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if (calls := self.calls[id(module)]) > 1:
            raise Refusal(f"{node.target}{role} is called {calls} times, with one set of weights")
        if id(module) in self.read:
            raise Refusal(f"the weights of {node.target}{role} are also read by name")
        if "float_reason" in node.meta:
            raise Refusal(f"{node.name}{role} runs in float: {node.meta['float_reason']}")
        if any(id(tensor) in self.worked_out for tensor in tensors):
            raise Refusal(f"the weights of {node.target}{role} are worked out of others already")
        if any(tensor.is_floating_point() and tensor.dtype is not torch.float32 for tensor in tensors):
            raise Refusal(f"the weights of {node.target}{role} are not float32")


def hold(layer: nn.Module, name: str, value: Any) -> None:
    """Let a layer hold a number that is worked out of a checkpoint, and stands in none."""
    bind(layer, name, value, persistent=False)
