"""Values of more dimensions than a program of the delegate may hold, on their way from one shape to another."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from fxconv.errors import ConversionError
from fxconv.targets.executorch.partitioner import MOST_DIMENSIONS
from fxconv.targets.executorch.rules.permutations import COPIES, PERMUTATIONS
from fxconv.targets.qdq.rules import qdq_nodes as nodes
from rewrites.values import callee


def ranks(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A permutation of more than six dimensions is one of fewer: those that stay beside each other move as one.

    Windows of a video are a reshape to eight dimensions, a permutation and a reshape. The delegate holds six at most,
    and a program with more does not load; outside of it nothing holds int8 values. What is only moved needs no int8
    value of its own on the way. Raises `ConversionError` for what computes with so many.
    """
    for quantize in [node for node in graph_module.graph.nodes if nodes.is_quantize(node) and _is_high(node)]:
        _float_on_the_way(graph_module, quantize)
    for copy in nodes.calls(graph_module, COPIES):
        if _is_high(copy):
            nodes.replace(copy, nodes.given(copy)[0])
    for node in nodes.calls(graph_module, PERMUTATIONS):
        if _is_high(node):
            _merged(graph_module, node)
    for node in nodes.calls(graph_module, {torch.reshape}):
        while (before := nodes.given(node)[0]).target is torch.reshape and _is_high(before):
            node.args = (nodes.given(before)[0], *nodes.given(node)[1:])
    return nodes.finished(graph_module)


def _is_high(node: fx.Node) -> bool:
    known = nodes.sizes(node)
    return known is not None and len(known) > MOST_DIMENSIONS


def _float_on_the_way(graph_module: fx.GraphModule, quantize: fx.Node) -> None:
    """Let the readers of an int8 value read the float value that was quantized, which is on its grid."""
    node = nodes.given(quantize)[0]
    if not nodes.calls_any(graph_module, node, {torch.reshape, *PERMUTATIONS, *COPIES}):
        name = quantize.meta.get(nodes.VALUE, (node.name,))[0]
        count = len(nodes.sizes(quantize) or ())
        raise ConversionError(
            f"{name}: computes with int8 values of {count} dimensions, and XNNPACK holds {MOST_DIMENSIONS} at most; "
            "keep it in float with --keep-float, or write a .ptl"
        )
    first = _first(node)
    given = nodes.given(first)[0]
    if not nodes.is_dequantize(given) or nodes.settings(given) != nodes.settings(quantize):
        with graph_module.graph.inserting_before(first):
            first.args = (nodes.requantized(first, given, nodes.settings(quantize)), *nodes.given(first)[1:])
    for reader in list(quantize.users):
        nodes.replace(reader, node)
    graph_module.graph.erase_node(quantize)


def _merged(graph_module: fx.GraphModule, node: fx.Node) -> None:
    """Write a permutation as a reshape to what moves as one, a permutation of that, and a reshape."""
    given, result = nodes.sizes(nodes.given(node)[0]), nodes.sizes(node)
    if given is None or result is None or sum(size is None for size in given) > 1:
        return
    order = _order(graph_module, node, len(given))
    starts = [place for place, dim in enumerate(order) if not place or dim != order[place - 1] + 1]
    groups = [order[start:end] for start, end in zip(starts, [*starts[1:], len(order)], strict=True)]
    if len(groups) > MOST_DIMENSIONS:
        return
    before = sorted(groups)
    reader = next(iter(node.users))
    source = nodes.given(_first(node))[0]
    is_int8 = nodes.is_dequantize(source) and len(node.users) == 1 and nodes.quantizer(reader) is not None
    between = nodes.settings(source) if is_int8 else None
    with graph_module.graph.inserting_before(node):
        sizes = [_product([given[dim] for dim in group]) for group in before]
        value: Any = nodes.call(node, torch.reshape, nodes.given(node)[0], tuple(sizes))
        value = nodes.requantized(node, value, between)
        value = nodes.call(node, torch.permute, value, tuple(before.index(group) for group in groups))
        value = nodes.requantized(node, value, between)
        value = nodes.call(node, torch.reshape, value, tuple(_product([size]) for size in result))
    value.meta[nodes.SIZES] = result
    nodes.replace(node, value)


def _order(graph_module: fx.GraphModule, node: fx.Node, rank: int) -> list[int]:
    """Which dimension of what a permutation is given each of its result is."""
    function: Any = callee(graph_module, node)
    strides = [2**dim for dim in reversed(range(rank))]
    moved = function(torch.empty_strided([2] * rank, strides), *nodes.given(node)[1:], **node.kwargs)
    return [strides.index(stride) for stride in moved.stride()]


def _first(node: fx.Node) -> fx.Node:
    """The operation that gave a value, now moved on by `node`, more dimensions than may be."""
    while nodes.given(node) and _is_high(nodes.given(node)[0]):
        node = nodes.given(node)[0]
    return node


def _product(sizes: list[int | None]) -> int:
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else -1
