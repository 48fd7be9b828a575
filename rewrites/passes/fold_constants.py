"""self.table[self.index].permute(2, 0, 1)  ->  a constant."""

from __future__ import annotations

import operator
from collections.abc import Container, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.utils._python_dispatch import TorchDispatchMode

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.memory import changes_touching
from rewrites.values import attribute, submodule


class _Chance(TorchDispatchMode):
    """Notices when random numbers are drawn."""

    drawn = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.drawn |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


def _may_be_constant(graph_module: fx.GraphModule, node: fx.Node, constant: set[fx.Node]) -> bool:
    """Whether a node computes the same in every run, but for chance: from parameters and buffers alone."""
    if node.op == "get_attr":
        return isinstance(attribute(graph_module, str(node.target)), Tensor)
    if node.op not in ("call_function", "call_method", "call_module") or not node.all_input_nodes:
        return False
    if "float_reason" in node.meta:
        return False
    module = submodule(graph_module, node)
    if module is not None and not type(module).__module__.startswith("torch.nn"):
        return False
    return constant.issuperset(node.all_input_nodes)


def _constants(graph_module: fx.GraphModule, random: Container[fx.Node] = ()) -> set[fx.Node]:
    """The nodes whose values are the same in every run, and are changed by nothing else; none is one of `random`."""
    constant: set[fx.Node] = set()
    for node in graph_module.graph.nodes:
        if node not in random and _may_be_constant(graph_module, node, constant):
            constant.add(node)
    for node, shared in changes_touching(graph_module, frozenset(constant)):
        if node not in constant or any(other.op == "get_attr" for other in shared):
            _give_up(constant, shared | {node})
    return constant


def _give_up(constant: set[fx.Node], nodes: Iterable[fx.Node]) -> None:
    """Take nodes, and whatever is computed from them, out of the constants."""
    queue = list(nodes)
    while queue:
        node = queue.pop()
        if node in constant:
            constant.discard(node)
            queue.extend(node.users)


def _values(graph_module: fx.GraphModule, constant: set[fx.Node]) -> tuple[dict[fx.Node, Any], set[fx.Node]]:
    """What the constant nodes compute, and which of them drew random numbers for it."""
    found: dict[fx.Node, Any] = {}
    random: set[fx.Node] = set()
    with torch.no_grad(), torch.random.fork_rng(devices=()):
        for node in graph_module.graph.nodes:
            if node not in constant:
                continue
            if node.op == "get_attr":
                found[node] = attribute(graph_module, str(node.target)).detach()
                continue
            args, kwargs = map_arg((node.args, node.kwargs), found.__getitem__)
            function: Any = node.target
            if node.op == "call_method":
                function = operator.methodcaller(str(node.target), *args[1:], **kwargs)
                args, kwargs = args[:1], {}
            elif node.op == "call_module":
                function = graph_module.get_submodule(str(node.target))
            with _Chance() as chance:
                found[node] = function(*args, **kwargs)
            if chance.drawn:
                random.add(node)
    return found, random


def constant_nodes(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The nodes that compute the same in every run: parameters and buffers, and what is made of them alone."""
    _, random = _values(graph_module, _constants(graph_module))
    return _constants(graph_module, random)


def random_nodes(graph_module: fx.GraphModule) -> set[fx.Node]:
    """The nodes that draw random numbers for what is otherwise made of parameters and buffers."""
    return _values(graph_module, _constants(graph_module))[1]


class FoldConstants(RewritePass):
    """What is computed from parameters alone is computed once.

    What it does: `self.table[self.index].permute(2, 0, 1)`, `scale.clamp(max=4.6).exp()`, a multi-layer perceptron over
    a table of coordinates: whatever reads parameters and buffers and nothing else becomes a constant. Loading
    an original checkpoint into the rewritten model works it out again.

    Why: relative position biases and the like would be float islands, worked out anew for every image, and a layer on
    constants would be quantized for nothing.

    Leaves alone: what is random, what is changed in place by something that depends on the input, a parameter itself.
    """

    name = "fold-constants"

    def run(self, editor: Editor) -> None:
        graph_module = editor.graph_module
        values, random = _values(graph_module, _constants(graph_module))
        constant = _constants(graph_module, random)
        folded = [
            node
            for node in editor.nodes()
            if node in constant
            and node.op != "get_attr"
            and isinstance(values[node], Tensor)
            and not constant.issuperset(node.users)
        ]
        for node in folded:
            editor.fold(node, values[node], "it reads parameters alone, so it is the same for every input")
        for node in reversed(list(graph_module.graph.nodes)):
            if node in constant and node.op != "get_attr" and not node.users:
                editor.erase(node, "only constants were made of it")
        editor.forget_unread()

    @staticmethod
    def example() -> nn.Module:
        class Biased(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.table = nn.Parameter(torch.linspace(-1, 1, 16).view(2, 8))

            def forward(self, x: Tensor) -> Tensor:
                return x + self.table.sum(0).view(1, 8, 1, 1)

        return Biased()
