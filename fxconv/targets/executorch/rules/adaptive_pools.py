"""Adaptive average pools whose cells are all of one size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes


def adaptive_pools(graph_module: fx.GraphModule) -> fx.GraphModule:
    """An adaptive average pool that divides its input evenly is an average pool, and nothing where sizes stay.

    The delegate has no adaptive pool: a portable operator would split it.
    """
    for node in nodes.calls(graph_module, {F.adaptive_avg_pool2d}):
        known, result = nodes.sizes(nodes.given(node)[0]), nodes.sizes(node)
        if known is None or result is None or len(known) != 4:
            continue
        cells = list(zip(known[2:], result[2:], strict=True))
        if any(size is None or out is None or size % out for size, out in cells):
            continue
        kernel = tuple(size // out for size, out in cells)
        if kernel == (1, 1):
            nodes.replace(node, nodes.given(node)[0])
        else:
            node.target, node.kwargs = F.avg_pool2d, {}
            node.args = (nodes.given(node)[0], kernel, kernel, (0, 0), False, True, None)
    return nodes.finished(graph_module)
