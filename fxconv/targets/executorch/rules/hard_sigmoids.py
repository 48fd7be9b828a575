"""Hard-sigmoids folded into the convolutions before them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import fx

from fxconv.targets.executorch.rules import qdq_nodes as nodes

_LAYERS = frozenset({F.conv2d, F.conv1d, F.linear})


def hard_sigmoids(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A hard-sigmoid behind a layer that nothing else reads is that layer: weights and bias over 6, and bias + 1/2.

    Its range, 0 to 255/256, is where a hard-sigmoid ends, so that nothing is left to be clamped. The delegate would
    compute it in float, with portable operators among it. The layer's own int8 value is no longer there: the rounding
    between the two goes away, and the quantize node says in its meta what it folded. A hard-sigmoid that stays is
    written with constants that the delegate takes.
    """
    for node in nodes.calls(graph_module, {F.hardsigmoid}):
        if not _folded(graph_module, node):
            _in_float(graph_module, node)
    return nodes.finished(graph_module)


def _folded(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    quantize, read = nodes.quantizer(node), node.args[0]
    if quantize is None or not nodes.is_dequantize(read) or len(read.users) > 1:  # type: ignore[union-attr]
        return False
    inner = read.args[0]  # type: ignore[union-attr]
    if not nodes.is_quantize(inner) or len(inner.users) > 1:  # type: ignore[union-attr]
        return False
    layer = inner.args[0]  # type: ignore[union-attr]
    lowest, highest = (float(end - quantize.args[2]) * float(quantize.args[1]) for end in (-128, 127))  # type: ignore
    if not isinstance(layer, fx.Node) or layer.target not in _LAYERS or len(layer.users) > 1:
        return False
    if lowest < 0 or highest > 1:
        return False  # beyond 0 and 1 a range does not clamp
    weight, bias = layer.args[1], nodes.argument(layer, 2, "bias")
    shift = nodes.held(graph_module, bias) if bias is not None else torch.zeros(1)
    if shift is None or not isinstance(weight, fx.Node):
        return False
    with graph_module.graph.inserting_before(layer):
        scaled = _over_six(graph_module, layer, weight)
        if scaled is None:
            return False
        if bias is None:
            channels = nodes.held(graph_module, weight.args[0]).shape[0]  # type: ignore[union-attr]
            shift = torch.zeros(channels)
        moved = nodes.constant(graph_module, layer, "hard_sigmoid_bias", (shift.double() / 6 + 0.5).float())
    layer.args = (layer.args[0], scaled, moved, *layer.args[3:])
    layer.kwargs = {name: value for name, value in layer.kwargs.items() if name != "bias"}
    quantize.args = (layer, *quantize.args[1:])
    quantize.meta[nodes.FOLDED] = (*inner.meta.get(nodes.FOLDED, ()), inner.meta[nodes.VALUE][0]) if (
        nodes.VALUE in inner.meta
    ) else ()  # fmt: skip
    return True


def _over_six(graph_module: fx.GraphModule, layer: fx.Node, weight: fx.Node) -> fx.Node | None:
    """A weight's dequantize node with scales that are a sixth, of the same integers."""
    if weight.target is nodes.DEQUANTIZE:
        return nodes.call(layer, nodes.DEQUANTIZE, weight.args[0], float(weight.args[1]) / 6, *weight.args[2:])  # type: ignore[arg-type]
    scales = nodes.held(graph_module, weight.args[1]) if weight.target is nodes.DEQUANTIZE_CHANNELS else None
    if scales is None:
        return None
    sixth = nodes.constant(graph_module, layer, "hard_sigmoid_scales", (scales.double() / 6).float())
    return nodes.call(layer, nodes.DEQUANTIZE_CHANNELS, weight.args[0], sixth, *weight.args[2:])


def _in_float(graph_module: fx.GraphModule, node: fx.Node) -> None:
    with graph_module.graph.inserting_before(node):
        sixth = nodes.constant(graph_module, node, "sixth", torch.tensor([1 / 6]))
        half = nodes.constant(graph_module, node, "half", torch.tensor([0.5]))
        value = nodes.call(node, torch.mul, node.args[0], sixth)
        value = nodes.call(node, torch.add, value, half)
        value = nodes.call(node, F.hardtanh, value, 0.0, 1.0)
    nodes.replace(node, value)
