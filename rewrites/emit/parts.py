"""What an `__init__` has to set for the forward of its class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

from rewrites.emit.blocks import Block, Blocks, relative, rules_of
from rewrites.emit.classes import Part
from rewrites.emit.expressions import FUNCTIONALS
from rewrites.emit.helpers import is_helper, made_helper
from rewrites.emit.layers import NotEmittable, made, number, parameter
from rewrites.emit.text import Expression, Group, call, literal
from rewrites.emit.tree import inside
from rewrites.functions import OWN
from rewrites.modules import (
    AddReLU,
    CappedFloatFunctional,
    DividingFloatFunctional,
    DivScalar,
    Emulated,
    LinearRows,
    Wrapped,
    WrappedUnary,
)
from rewrites.parts import prefixed

# What makes the module at a path, given what the class that holds it calls it.
Made = Callable[[str, str], Expression]


class Parts:
    """Writes down what makes the layers, parameters and inner modules of the modules of a graph.

    `used` collects the classes of this library, and of torch.ao, that the text names.
    """

    def __init__(self, blocks: Blocks, used: set[Any]) -> None:
        self.blocks, self.used = blocks, used
        self.graph_module, self.tree = blocks.graph_module, blocks.tree
        self.persistent = set(self.graph_module.state_dict())

    def of(self, block: Block, inner: Made, above: str = "") -> tuple[Part, ...]:
        """The parts of a block; `inner` makes the modules in it. `above` is what the class calls the block itself."""
        found: dict[str, Part] = {}
        for item in block.items:
            if isinstance(item, str):
                path = relative(item, block.path)
                found[path] = Part(path, inner(item, prefixed(above, path)))
            elif item.op == "call_module":
                path = relative(self.tree.paths[item], block.path)
                found.setdefault(path, Part(path, self.layer(item, prefixed(above, path))))
        called = [
            relative(self.tree.paths[item], block.path)
            for item in block.items
            if not isinstance(item, str) and item in self.tree.paths
        ]
        return (*found.values(), *self._tensors(block, called))

    def chain(self, block: Block, inner: Made, above: str) -> Expression:
        """A block without a forward of its own: its parts one behind the other."""
        comments = tuple("" if isinstance(item, str) else rules_of(item) for item in block.items)
        items = tuple((part.path, part.expression) for part in self.of(block, inner, above))
        return call("nn.Sequential", Group("OrderedDict(", ")", items, comments if any(comments) else ()))

    def layer(self, node: fx.Node, path: str) -> Expression:
        """The call that makes the module a node calls, which stands at `path` in its class."""
        module = self.blocks.modules[str(node.target)]
        if type(module) in FUNCTIONALS:
            if isinstance(module, AddReLU) and isinstance(module.op, CappedFloatFunctional):
                self.used |= {CappedFloatFunctional}
                return call("CappedFloatFunctional", literal(module.op.cap))
            if isinstance(module, DivScalar):
                self.used |= {DividingFloatFunctional}
                return call("DividingFloatFunctional", number(path, "divisor", module.divisor))
            return "FloatFunctional()"
        if isinstance(module, (QuantStub, DeQuantStub)):
            return f"{type(module).__name__}()"
        if isinstance(module, LinearRows):
            return made(module.cut_out(), path)
        if is_helper(module):
            self.used.add(type(module))
            return made_helper(module, path)
        if isinstance(module, Emulated):
            self.used |= {Wrapped, WrappedUnary, Emulated}
            return call("Emulated", self._function(module.op, path))
        if isinstance(module, Wrapped):
            raise NotEmittable(f"{node.name}: wrapped arithmetic has no place in a file people quantize by hand")
        return made(module, path)

    def _function(self, function: nn.Module, path: str) -> Expression:
        """The call that makes what an `Emulated` computes."""
        if isinstance(function, nn.Sequential):
            return call("nn.Sequential", *(self._function(one, path) for one in function))
        if not is_helper(function):
            return made(function, path)
        self.used |= {kind for kind in type(function).__mro__ if kind in OWN}
        return made_helper(function, path)

    def _tensors(self, block: Block, called: Sequence[str]) -> Iterator[Part]:
        """The parameters, buffers and constants that are read here by name, but for those of layers that are called."""
        for node in self.tree.order:
            if node.op != "get_attr" or self.tree.place[node] != block.path:
                continue
            path = relative(self.tree.paths[node], block.path)
            if any(inside(path, layer) for layer in called):
                continue
            tensor = _tensor(self.graph_module, str(node.target))
            kind = "persistent" if str(node.target) in self.persistent else "constant"
            yield Part(path, parameter(tensor, path), "" if isinstance(tensor, nn.Parameter) else kind)


def _tensor(graph_module: fx.GraphModule, path: str) -> torch.Tensor:
    holder, _, name = path.rpartition(".")
    value = getattr(graph_module.get_submodule(holder), name)
    if not isinstance(value, torch.Tensor):
        raise NotEmittable(f"{path} is a {type(value).__name__} and no tensor")
    return value
