"""Pools with all their arguments."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_MAX = frozenset({F.max_pool2d, torch.max_pool2d})
_AVERAGE = frozenset({F.avg_pool2d})


def whole_pool_arguments(graph_module: fx.GraphModule) -> fx.GraphModule:
    """max_pool2d and avg_pool2d are called with all arguments, by place.

    Without a stride, for one, ExecuTorch 1.3 fails with an IndexError.
    """
    for node in nodes.calls(graph_module, _MAX | _AVERAGE):
        kernel = nodes.pair(nodes.argument(node, 1, "kernel_size"))
        stride = nodes.pair(nodes.argument(node, 2, "stride") or kernel)
        padding = nodes.pair(nodes.argument(node, 3, "padding", 0))
        given = nodes.given(node)[0] if nodes.given(node) else node.kwargs["input"]
        if node.target in _MAX:
            dilation = nodes.pair(nodes.argument(node, 4, "dilation", 1))
            rest: tuple[Any, ...] = (dilation, bool(nodes.argument(node, 5, "ceil_mode", False)))
            node.target = torch.max_pool2d
        else:
            rest = (
                bool(nodes.argument(node, 4, "ceil_mode", False)),
                bool(nodes.argument(node, 5, "count_include_pad", True)),
                nodes.argument(node, 6, "divisor_override"),
            )
        node.args, node.kwargs = (given, kernel, stride, padding, *rest), {}
    return nodes.finished(graph_module)
