"""Matrix products of more than three dimensions, as products of batches of matrices."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_PRODUCTS = frozenset({torch.matmul, Tensor.matmul, operator.matmul, Tensor.__matmul__})


def matrix_products(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A product of two tensors of matrices is a bmm between reshapes; attention is written as its two products.

    Exported as it is, a product copies its tensors by portable operators, and attention brings masks along.
    """
    for node in nodes.calls(graph_module, {F.scaled_dot_product_attention}):
        _attention(graph_module, node)
    for node in nodes.calls(graph_module, _PRODUCTS):
        shapes = [nodes.sizes(value) for value in nodes.given(node)[:2]]
        with graph_module.graph.inserting_before(node):
            result = _product(node, *nodes.given(node)[:2], *shapes)
        if result is not None:
            nodes.replace(node, result)
    return nodes.finished(graph_module)


_Sizes = tuple[Any, ...] | None


def _product(node: fx.Node, left: fx.Node, right: fx.Node, first: _Sizes, second: _Sizes) -> fx.Node | None:
    """The product as a bmm; None where the two do not hold the same number of matrices, or it is not known."""
    if first is None or second is None or len(first) < 4 or first[:-2] != second[:-2]:
        return None
    batch, inner = first[0], first[1:-2]
    if None in inner or None in first[-2:] or None in second[-2:]:
        return None
    count = -1 if batch is None else batch * math.prod(inner)
    flat = nodes.call(node, torch.reshape, left, (count, *first[-2:]))
    other = nodes.call(node, torch.reshape, right, (count, *second[-2:]))
    result = nodes.call(node, torch.bmm, flat, other)
    return nodes.call(node, torch.reshape, result, (-1 if batch is None else batch, *inner, first[-2], second[-1]))


def _attention(graph_module: fx.GraphModule, node: fx.Node) -> None:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
    defaults = (None, None, None, None, 0.0, False, None)
    query, key, value, mask, dropout, is_causal, scale = (
        nodes.argument(node, place, name, default)
        for place, (name, default) in enumerate(zip(names, defaults, strict=True))
    )
    first, second, third = (nodes.sizes(each) for each in (query, key, value))
    if is_causal or dropout or node.kwargs.get("enable_gqa") or first is None or second is None or first[-1] is None:
        return
    masked = nodes.held(graph_module, mask)
    if mask is not None and (masked is None or not masked.is_floating_point()):
        return
    with graph_module.graph.inserting_before(node):
        factor = nodes.constant(
            graph_module,
            node,
            "scale",
            torch.tensor([scale if scale is not None else first[-1] ** -0.5]),
        )
        scaled = nodes.call(node, torch.mul, query, factor)
        turned = nodes.call(node, torch.transpose, key, -2, -1)
        across = (*second[:-2], second[-1], second[-2])
        weights = _product(node, scaled, turned, first, across) or nodes.call(node, torch.matmul, scaled, turned)
        if mask is not None:
            weights = nodes.call(node, torch.add, weights, mask)
        weights = nodes.call(node, torch.softmax, weights, -1)
        between = (*first[:-1], second[-2])
        result = _product(node, weights, value, between, third) or nodes.call(node, torch.matmul, weights, value)
    nodes.replace(node, result)
