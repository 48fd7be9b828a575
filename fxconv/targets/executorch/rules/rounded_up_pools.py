"""Maximum pools whose number of windows is rounded up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes


def rounded_up_pools(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A maximum pool with ceil_mode is one without, on an image that is padded where the last windows reach beyond it.

    The delegate pads so itself for images of one size, but where the batch is free a portable operator would pool in
    float, and split it. What is padded is the least value of the image's range, which is never above any other.
    """
    for node in nodes.calls(graph_module, {torch.max_pool2d}):
        image, kernel, stride, padding, dilation, ceil_mode = nodes.given(node)
        known, wanted = nodes.sizes(image), nodes.sizes(node)
        if not ceil_mode or known is None or wanted is None or None in (*known[-2:], *wanted[-2:]):
            continue
        beyond = [
            max(0, (wanted[at] - 1) * stride[at] + dilation[at] * (kernel[at] - 1) + 1 - 2 * padding[at] - known[at])
            for at in (-2, -1)
        ]
        if any(beyond):
            if not nodes.is_int8(node):
                continue
            scale, zero_point, least = nodes.settings(image)[:3]
            filled = (0, beyond[1], 0, beyond[0]), "constant", float((least - zero_point) * scale)
            with graph_module.graph.inserting_before(node):
                image = nodes.requantized(node, nodes.call(node, F.pad, image, *filled), nodes.settings(image))
        node.args = (image, kernel, stride, padding, dilation, False)
    return nodes.finished(graph_module)
