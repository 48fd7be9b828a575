"""Modules in float that are one operation, as that operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from fxconv.targets.qdq.rules import qdq_nodes as nodes
from rewrites import modules as m
from rewrites.values import submodule

# Each with the attributes of the module that it is given as well.
_OPERATIONS: dict[type[nn.Module], tuple[Callable[..., Any], tuple[str, ...]]] = {
    m.Add: (torch.add, ()),
    m.Mul: (torch.mul, ()),
    m.MatMul: (torch.matmul, ()),
    nn.AdaptiveAvgPool2d: (F.adaptive_avg_pool2d, ("output_size",)),
}


def float_modules(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A module of arithmetic, or an adaptive pool, that stayed in float is called as the operation that it is.

    Other rules look at operations: a product of matrices in a module would copy its tensors outside of the delegate,
    and an average over a permuted image lay its result out anew there.
    """
    for node in list(graph_module.graph.nodes):
        module = submodule(graph_module, node)
        row = _OPERATIONS.get(type(module)) if module is not None else None
        if row is None or node.kwargs:
            continue
        operation, names = row
        with graph_module.graph.inserting_before(node):
            result = nodes.call(node, operation, *nodes.given(node), *(getattr(module, name) for name in names))
        nodes.replace(node, result)
    return nodes.finished(graph_module)
