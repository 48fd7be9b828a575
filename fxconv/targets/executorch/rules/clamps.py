"""ReLUs and clamps: the end of a range, part of the operation before, or an operation of their own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_RELUS = frozenset({F.relu, torch.relu, Tensor.relu})
_CLAMPS = frozenset({torch.clamp, Tensor.clamp, F.hardtanh, F.relu6})
# What the delegate runs with a ReLU in one.
_WITH_RELU = frozenset({F.conv1d, F.conv2d, F.conv_transpose1d, F.conv_transpose2d, F.linear, torch.add})


def clamps(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A clamp that the range of its result makes anyway is taken out; any other gets int8 values.

    A clamp behind a convolution splits the delegate, or ends with "Missing out variants"; behind a product it takes
    the product with it into float. Between int8 values it is an int8 operation, and rounding before it is the same.
    """
    for node in nodes.calls(graph_module, _RELUS | _CLAMPS):
        source = nodes.given(node)[0]
        quantize = nodes.quantizer(node)
        if quantize is None or not isinstance(source, fx.Node):
            continue
        ends = _ends(graph_module, node)
        if ends is None:
            continue
        (least, most), (lowest, highest) = ends, _range(quantize)
        if least <= lowest and most >= highest:
            nodes.replace(node, source)
            continue
        if most >= highest and least == 0:
            node.target, node.op, node.args, node.kwargs = F.relu, "call_function", (source,), {}
            if source.target in _WITH_RELU and len(source.users) == 1:
                continue
        else:
            node.target, node.op, node.kwargs = F.hardtanh, "call_function", {}
            low = min(max(least, lowest), highest)
            node.args = (source, low, max(min(most, highest), low))
        if not nodes.is_dequantize(source) or not _holds(source, *nodes.given(node)[1:]):
            with graph_module.graph.inserting_before(node):
                node.args = (nodes.requantized(node, source, nodes.settings(quantize)), *nodes.given(node)[1:])
    return nodes.finished(graph_module)


def _holds(dequantize: fx.Node, *ends: float) -> bool:
    """Whether the range of a value has the ends of a clamp of it; without, what is clamped has no int8 value there."""
    lowest, highest = _range(dequantize)
    return all(lowest <= end <= highest for end in ends)


def _ends(graph_module: fx.GraphModule, node: fx.Node) -> tuple[float, float] | None:
    """The least and the most value that a clamp lets through; None where a tensor says it."""
    if nodes.calls_any(graph_module, node, _RELUS):
        return 0.0, float("inf")
    if node.target is F.relu6:
        return 0.0, 6.0
    names, ends = (("min", "max"), (None, None)) if node.target is not F.hardtanh else (("min_val", "max_val"), (-1, 1))
    given: list[Any] = [nodes.argument(node, place + 1, names[place], ends[place]) for place in (0, 1)]
    if any(isinstance(end, fx.Node) for end in given):
        return None
    return (float("-inf") if given[0] is None else float(given[0])), (
        float("inf") if given[1] is None else float(given[1])
    )


def _range(quantize: fx.Node) -> tuple[float, float]:
    """The least and the most value of what a quantize node gives, or a dequantize node reads."""
    _, scale, zero_point, least, most = nodes.given(quantize)[:5]
    return (least - zero_point) * scale, (most - zero_point) * scale
