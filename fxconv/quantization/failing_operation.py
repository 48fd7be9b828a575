"""The operation at which an int8 model stops, found by running it node by node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from fxconv.models import forward
from fxconv.models.graph_calls import failing
from rewrites.diff import call_name
from rewrites.parts import prefixed
from rewrites.values import submodule


@dataclass(frozen=True)
class FailingOperation:
    """Where an int8 model stops: the operation, the path of its graph, and whether it was given int8 values."""

    path: str
    graph: fx.GraphModule
    node: fx.Node
    in_int8: bool
    error: RuntimeError

    def __str__(self) -> str:
        return f"{prefixed(self.path, operation_path(self.node))} ({operator_name(self.graph, self.node)})"


def failing_operation(int8: nn.Module, image: tuple[Any, ...]) -> FailingOperation | None:
    """The operation at which `int8` stops on this input; None when it runs through."""
    stopped = failing(int8, image)
    if stopped is None:
        return None
    path, graph, inputs = stopped
    runner = _Runner(graph)
    try:
        with torch.no_grad():
            runner.run(*forward.cloned(inputs))
    except RuntimeError as error:
        return FailingOperation(path, graph, runner.at, runner.in_int8, error)
    return None


class _Runner(fx.Interpreter):
    """Runs a module node by node and knows where it is."""

    at: fx.Node
    in_int8 = False

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        self.at = n
        given = [self.env[value] for value in n.all_input_nodes]
        self.in_int8 = any(isinstance(leaf, Tensor) and leaf.is_quantized for leaf in tree_leaves(given))
        return super().run_node(n)


def operation_path(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


def operator_name(graph_module: fx.GraphModule, node: fx.Node) -> str:
    module = submodule(graph_module, node)
    return type(module).__name__ if module is not None else call_name(graph_module, node)
