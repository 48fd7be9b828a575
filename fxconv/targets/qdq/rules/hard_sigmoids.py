"""Hard-sigmoids folded into the convolutions before them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_LAYERS = frozenset({F.conv2d, F.conv1d, F.linear})
_MOST_STEPS = 2**31 - 2**8  # float32 rounds what is nearer to the end up to it


def hard_sigmoids(graph_module: fx.GraphModule) -> fx.GraphModule:
    """A hard-sigmoid behind a layer that nothing else reads is that layer: weights and bias over 6, and bias + 1/2.

    Its range, 0 to 255/256, is where a hard-sigmoid ends, so that nothing is left to be clamped. The delegate would
    compute it in float, with portable operators among it. The layer's own int8 value is no longer there: the rounding
    between the two goes away. A hard-sigmoid that stays is written with constants that the delegate takes.
    """
    for node in nodes.calls(graph_module, {F.hardsigmoid}):
        if not _folded(graph_module, node):
            _in_float(graph_module, node)
    return nodes.finished(graph_module)


def _folded(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    quantize, read = nodes.quantizer(node), nodes.given(node)[0]
    if quantize is None or not nodes.is_dequantize(read) or len(read.users) > 1:
        return False
    inner = nodes.given(read)[0]
    if not nodes.is_quantize(inner) or len(inner.users) > 1:
        return False
    layer = nodes.given(inner)[0]
    lowest, highest = (float(end - nodes.given(quantize)[2]) * float(nodes.given(quantize)[1]) for end in (-128, 127))
    if not isinstance(layer, fx.Node) or layer.target not in _LAYERS or len(layer.users) > 1:
        return False
    if not nodes.is_dequantize(nodes.given(layer)[0]):
        return False
    if lowest < 0 or highest > 1:
        return False  # beyond 0 and 1 a range does not clamp
    weight, bias = nodes.given(layer)[1], nodes.argument(layer, 2, "bias")
    integers = nodes.held(graph_module, nodes.given(weight)[0]) if isinstance(weight, fx.Node) else None
    shift = nodes.held(graph_module, bias) if bias is not None else None
    if integers is None or (bias is not None and shift is None):
        return False
    shift = torch.zeros(integers.shape[0]) if shift is None else shift
    with graph_module.graph.inserting_before(layer):
        scaled = _over_six(graph_module, layer, weight)
        if scaled is None:
            return False
        values = (shift.double() / 6 + 0.5).float()
        if not _fit(graph_module, values, float(nodes.given(nodes.given(layer)[0])[1]), scaled):
            return False
        moved = nodes.constant(graph_module, layer, "hard_sigmoid_bias", values)
    layer.args = (nodes.given(layer)[0], scaled, moved, *nodes.given(layer)[3:])
    layer.kwargs = {name: value for name, value in layer.kwargs.items() if name != "bias"}
    quantize.args = (layer, *nodes.given(quantize)[1:])
    return True


def _fit(graph_module: fx.GraphModule, bias: Tensor, input_scale: float, weight: fx.Node) -> bool:
    """Whether the bias's integers are int32: the delegate wraps what is more to the other sign."""
    own = nodes.held(graph_module, nodes.given(weight)[1])
    scales = torch.tensor(float(nodes.given(weight)[1])) if own is None else own
    return bool((bias.double() / (scales.double() * input_scale)).abs().max() < _MOST_STEPS)


def _over_six(graph_module: fx.GraphModule, layer: fx.Node, weight: fx.Node) -> fx.Node | None:
    """A weight's dequantize node with scales that are a sixth, of the same integers."""
    if weight.target is nodes.DEQUANTIZE:
        return nodes.call(
            layer, nodes.DEQUANTIZE, nodes.given(weight)[0], float(nodes.given(weight)[1]) / 6, *nodes.given(weight)[2:]
        )
    scales = nodes.held(graph_module, nodes.given(weight)[1]) if weight.target is nodes.DEQUANTIZE_CHANNELS else None
    if scales is None:
        return None
    sixth = nodes.constant(graph_module, layer, "hard_sigmoid_scales", (scales.double() / 6).float())
    return nodes.call(layer, nodes.DEQUANTIZE_CHANNELS, nodes.given(weight)[0], sixth, *nodes.given(weight)[2:])


def _in_float(graph_module: fx.GraphModule, node: fx.Node) -> None:
    with graph_module.graph.inserting_before(node):
        sixth = nodes.constant(graph_module, node, "sixth", torch.tensor([1 / 6]))
        half = nodes.constant(graph_module, node, "half", torch.tensor([0.5]))
        value = nodes.call(node, torch.mul, nodes.given(node)[0], sixth)
        value = nodes.call(node, torch.add, value, half)
        value = nodes.call(node, F.hardtanh, value, 0.0, 1.0)
    nodes.replace(node, value)
