"""Sums and products with a number, as with a constant in int8."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_SUMS = frozenset({torch.add, Tensor.add, operator.add})
_PRODUCTS = frozenset({torch.mul, Tensor.mul, operator.mul})
_MOST = 127


def scalar_arithmetic(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A number that is added to int8 values, or that they are multiplied with, becomes an int8 constant: 127 or -127.

    Its scale is the number over 127, so that nothing of it is rounded. With a plain number the delegate computes in
    float.
    """
    for node in nodes.calls(graph_module, _SUMS | _PRODUCTS):
        if len(nodes.given(node)) != 2 or node.kwargs or not nodes.is_int8(node):
            continue
        read = nodes.given(node)
        numbers = [place for place in (0, 1) if isinstance(read[place], (int, float))]
        if (
            len(numbers) != 1
            or not nodes.given(node)[numbers[0]]
            or not nodes.is_dequantize(nodes.given(node)[1 - numbers[0]])
        ):
            continue
        number = float(read[numbers[0]])
        with graph_module.graph.inserting_before(node):
            integers = torch.tensor([_MOST if number > 0 else -_MOST], dtype=torch.int8)
            held = nodes.constant(graph_module, node, "number", integers)
            made = nodes.call(node, nodes.DEQUANTIZE, held, abs(number) / _MOST, 0, -128, 127, torch.int8)
            function = torch.add if nodes.calls_any(graph_module, node, _SUMS) else torch.mul
            result = nodes.call(node, function, read[1 - numbers[0]], made)
        nodes.replace(node, result)
    return nodes.finished(graph_module)
