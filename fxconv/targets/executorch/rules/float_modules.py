"""Modules in float that are one operation, as that operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from fxconv.targets.executorch.rules import qdq_nodes as nodes
from rewrites import modules as m
from rewrites.values import submodule

_OPERATIONS: dict[type[nn.Module], Callable[..., Any]] = {
    m.Add: torch.add,
    m.Mul: torch.mul,
    m.MatMul: torch.matmul,
}


def float_modules(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A module of arithmetic that stayed in float is called as the operation that it is.

    Other rules look at operations: a product of matrices in a module would copy its tensors outside of the delegate.
    """
    for node in list(graph_module.graph.nodes):
        module = submodule(graph_module, node)
        operation = _OPERATIONS.get(type(module)) if module is not None else None
        if operation is None or node.kwargs:
            continue
        with graph_module.graph.inserting_before(node):
            result = nodes.call(node, operation, *nodes.given(node))
        nodes.replace(node, result)
    return nodes.finished(graph_module)
