"""Operations that the delegate runs in one scale, with values of others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

# They give values of what they are given, or ends of a clamp, which `clamps` has in its range: quantized in its scale,
# nothing else is rounded.
_MOVES = frozenset(
    {F.relu, torch.relu, F.relu6, F.hardtanh, torch.clamp, Tensor.clamp, F.max_pool2d, torch.max_pool2d, torch.reshape,
     torch.permute, Tensor.permute, torch.transpose, Tensor.transpose, torch.clone, torch.narrow, Tensor.narrow, F.pad}
)  # fmt: skip


def one_scale(graph_module: fx.GraphModule) -> fx.GraphModule:
    """What a concatenation joins is quantized in its scale first; what only moves values, in its input's scale.

    The delegate takes one scale for all that such an operation reads and gives, and a program that says otherwise does
    not load.
    """
    for node in nodes.calls(graph_module, {torch.cat}):
        quantize, tensors = nodes.quantizer(node), nodes.given(node)[0]
        if quantize is None or not nodes.is_int8(node) or not isinstance(tensors, (tuple, list)):
            continue
        joined = nodes.settings(quantize)
        with graph_module.graph.inserting_before(node):
            same = [value if _are_same(value, quantize) else nodes.requantized(node, value, joined)
                    for value in tensors]  # fmt: skip
        node.args = (same, *nodes.given(node)[1:])
    for node in nodes.calls(graph_module, _MOVES):
        quantize = nodes.quantizer(node)
        if quantize is None or not nodes.is_int8(node) or _are_same(nodes.given(node)[0], quantize):
            continue
        if any(isinstance(each, fx.Node) for each in (*nodes.given(node)[1:], *node.kwargs.values())):
            continue  # a clamp by the values of a tensor gives those
        with graph_module.graph.inserting_before(quantize):
            quantize.args = (
                nodes.requantized(node, node, nodes.settings(nodes.given(node)[0])),
                *nodes.given(quantize)[1:],
            )
    return nodes.finished(graph_module)


def _are_same(dequantize: fx.Node, quantize: fx.Node) -> bool:
    return nodes.settings(dequantize) == nodes.settings(quantize)
