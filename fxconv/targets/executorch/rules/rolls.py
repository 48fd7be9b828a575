"""Rolls as two slices that change places."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_ROLLS = frozenset({torch.roll, Tensor.roll})


def rolls(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A roll joins the end of a tensor and what is before it, one dimension after the other.

    Exported as it is, a roll looks every place up by portable operators, which split the delegate.
    """
    for node in nodes.calls(graph_module, _ROLLS):
        known, source = nodes.sizes(node), nodes.given(node)[0]
        shifts, dims = (_numbers(nodes.argument(node, place, name)) for place, name in ((1, "shifts"), (2, "dims")))
        if known is None or not dims or len(dims) != len(shifts) or any(known[dim] is None for dim in dims):
            continue
        between = nodes.inner_settings(node)
        with graph_module.graph.inserting_before(node):
            value = source
            for shift, dim in zip(shifts, dims, strict=True):
                size = known[dim]
                start = -shift % size
                if not start:
                    continue
                parts = [(start, size - start), (0, start)]
                cut = [
                    nodes.requantized(node, nodes.call(node, torch.narrow, nodes.own(value), dim, *part), between)
                    for part in parts
                ]
                value = nodes.requantized(node, nodes.call(node, torch.cat, cut, dim), between)
        if between is not None and nodes.is_dequantize(value) and value is not source:
            value = nodes.given(nodes.given(value)[0])[0]
        nodes.replace(node, value)
    return nodes.finished(graph_module)


def _numbers(value: object) -> tuple[int, ...]:
    """One whole number or several; none where some is not known."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return values if all(isinstance(each, int) for each in values) else ()
