"""None and numbers among the outputs: what an artifact returns are tensors, and nothing else."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxconv.models import forward
from fxconv.targets.wrapping.tensors import OnlyTraced
from rewrites.surroundings import unchanged

# Stands for what is left out, in whatever structure.
_NOTHING = object()


class _ReturningTensors(OnlyTraced):
    """A module that is no single graph, without the None among its outputs and with tensors for its numbers."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Any:
        return _tensors_only(self.module(*inputs))


@dataclass(frozen=True)
class OddOutputs:
    """That a module returns other than tensors: `returned` is what it gave for an example, in its structure.

    `computed` are the names of the outputs that a graph computes: a size, say.
    """

    returned: Any
    computed: tuple[str, ...] = ()

    @classmethod
    def of(cls, module: nn.Module, arguments: tuple[Any, ...]) -> OddOutputs | None:
        """Those of a module, called so; None where it returns nothing but tensors."""
        graph = module if isinstance(module, fx.GraphModule) else None
        if graph is not None and not _may_be_odd(graph):
            return None
        with torch.no_grad(), unchanged(module) if graph is None else nullcontext():
            returned = module(*forward.cloned(arguments))
        if not any(map(_is_odd, forward.leaves(returned))):
            return None
        leaves = forward.named_leaves(_returned(graph)) if graph is not None else []
        return cls(returned, tuple(name for name, leaf in leaves if isinstance(leaf, fx.Node)))

    def left_out(self, module: nn.Module) -> nn.Module:
        """A module with these outputs, without the None among them and with tensors for numbers.

        A number that a graph computes is computed in the tensor as well.
        """
        if isinstance(module, fx.GraphModule):
            return _graph(module, self.returned)
        return _ReturningTensors(module).eval()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know of them, a sentence each."""
        found = forward.named_leaves(self.returned)
        nothing = ", ".join(name for name, leaf in found if leaf is None)
        told = [f"the model returns None as output {nothing}: the artifact leaves it out"] if nothing else []
        for name, leaf in found:
            if forward.is_number(leaf):
                is_computed = any(f"{name}.".startswith(f"{node}.") for node in self.computed)
                how = "a tensor, computed anew for each input" if is_computed else "a constant tensor"
                kind = type(leaf).__name__
                told.append(f"the model returns the {kind} {leaf} as output {name}: the artifact returns {how}")
        return tuple(told)


def _is_odd(leaf: Any) -> bool:
    return leaf is None or forward.is_number(leaf)


def _returned(module: fx.GraphModule) -> Any:
    """What the output node of a graph returns: nodes, and constants, in whatever structure."""
    (output,) = module.graph.find_nodes(op="output")
    return output.args[0]


def _may_be_odd(module: fx.GraphModule) -> bool:
    """Whether anything a graph returns may be no tensor: what no layer gives may be a size, or what is made of one."""
    return any(not isinstance(leaf, fx.Node) or leaf.op != "call_module" for leaf in forward.leaves(_returned(module)))


def _tensors_only(value: Any) -> Any:
    """Outputs in the structure they have, without None and with tensors for numbers; of nothing else `_NOTHING`."""
    if value is None:
        return _NOTHING
    if forward.is_number(value):
        return forward.tensor_of(value)
    members = _members(value)
    return value if members is None else _joined(value, [(key, _tensors_only(member)) for key, member in members])


def _members(value: Any) -> list[tuple[Any, Any]] | None:
    """What a structure holds, by keys and places; None of what is none."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else None


def _joined(like: Any, members: list[tuple[Any, Any]]) -> Any:
    """A structure like another one, of what is left of its members; `_NOTHING` where nothing is.

    A named tuple that lacks a field is a plain one.
    """
    left = [(key, member) for key, member in members if member is not _NOTHING]
    if not left:
        return _NOTHING
    if isinstance(like, dict):
        return dict(left)
    values = [member for _, member in left]
    return values if isinstance(like, list) else tuple(values)


def _graph(module: fx.GraphModule, returned: Any) -> fx.GraphModule:
    """The same graph, which returns tensors alone; its layers are those of `module`."""
    graph, known = fx.Graph(), dict[fx.Node, fx.Node]()
    graph.graph_copy(module.graph, known)
    whole = fx.GraphModule(module, graph, type(module).__name__)
    whole.meta = dict(module.meta)
    graph.output(_Writer(whole, known).written("returned", _returned(module), returned))
    whole.recompile()
    return whole.eval()


class _Writer:
    """Writes what makes tensors of numbers into a graph that lacks its output yet."""

    def __init__(self, whole: fx.GraphModule, known: dict[fx.Node, fx.Node]) -> None:
        self.whole, self.known = whole, known

    def written(self, name: str, given: Any, found: Any) -> Any:
        """What is returned where the source graph returns `given`, which was `found` on an example."""
        graph = self.whole.graph
        if found is None:
            return _NOTHING
        if isinstance(given, fx.Node) and given in self.known:
            given = self.known[given]
        if forward.is_number(found):
            if isinstance(given, fx.Node):
                return graph.call_function(torch.full, ([], given))
            self.whole.register_buffer(name, forward.tensor_of(given), persistent=False)
            return graph.get_attr(name)
        members = _members(found)
        if members is None or not any(map(_is_odd, forward.leaves(found))):
            return fx.node.map_arg(given, lambda node: self.known.get(node, node))
        parts = [
            (key, self.written(f"{name}_{place}", part, member))
            for place, (key, member, part) in enumerate(self._parts(given, members))
        ]
        return _joined(found, parts)

    def _parts(self, given: Any, members: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any, Any]]:
        """Key and value of each member, and what gives it; of a node that gives them all an item of it."""
        for key, member in members:
            if isinstance(given, fx.Node):
                yield key, member, self.whole.graph.call_function(operator.getitem, (given, key))
            else:
                yield key, member, given[key]
