"""Stacks as concatenations."""

from __future__ import annotations

import torch
from torch import fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes


def stacks(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A stack is a concatenation of tensors that have one dimension more, of size 1.

    The delegate would stack in float. Each tensor is reshaped in int8, with a range of its own.
    """
    for node in nodes.calls(graph_module, {torch.stack}):
        wanted, tensors = nodes.sizes(node), nodes.given(node)[0]
        if wanted is None or not isinstance(tensors, (tuple, list)) or sum(size is None for size in wanted) > 1:
            continue
        dim = nodes.argument(node, 1, "dim", 0) % len(wanted)
        shape = tuple(-1 if size is None else size for size in (*wanted[:dim], 1, *wanted[dim + 1 :]))
        is_int8 = nodes.is_int8(node)
        with graph_module.graph.inserting_before(node):
            grown = []
            for value in tensors:
                between = nodes.settings(value) if is_int8 else None
                shaped = nodes.call(node, torch.reshape, nodes.own(value), shape)
                grown.append(nodes.requantized(node, shaped, between))
            result = nodes.call(node, torch.cat, grown, dim)
        nodes.replace(node, result)
    return nodes.finished(graph_module)
