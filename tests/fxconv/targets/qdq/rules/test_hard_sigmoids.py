"""Hard-sigmoids in the layers before them."""

import torch
import torch.nn.functional as F
from qdq_graphs import Graph, applied, lowered, places, run, steps_between, without
from torch import fx

from fxconv.targets.qdq.rules.hard_sigmoids import hard_sigmoids
from fxconv.targets.qdq.writer import QUANTIZE

RANGE = (1 / 256, -128)


def gated(reads: int = 1) -> fx.GraphModule:
    graph = Graph()
    inner = graph.quantized(graph.convolution(), (0.05, 4))
    gate = graph.quantized(graph.call(F.hardsigmoid, graph.read(inner)), RANGE)
    return graph.done(gate, *[inner] * (reads - 1))


def test_without_it_a_hard_sigmoid_is_float_with_portable_operators() -> None:
    found = places(gated(), without(hard_sigmoids))
    assert "portable" in found.values() or "float" in found.values()


def test_it_is_the_layer_itself() -> None:
    content, found = lowered(gated())
    assert found == {"convolution": "int8", "delegates": "1"}
    # the rounding between the two is gone: half a step of the layer's scale over six, in steps of 1/256
    assert steps_between(applied(gated()), content, 1 / 256) <= 1
    assert (run(applied(gated())) - run(gated())).abs().max() <= (0.05 / 2 / 6 + 1.5 / 256)


def test_the_gate_keeps_its_name() -> None:
    (_, gate) = applied(gated()).graph.find_nodes(op="call_function", target=QUANTIZE)
    assert gate.meta["int8"] == ("n2", 0)
    assert gate.args[1:3] == RANGE


def test_one_whose_layer_is_read_elsewhere_is_float_in_the_delegate() -> None:
    content, found = lowered(gated(reads=2))
    assert found == {"convolution": "int8", "mul": "float", "add": "float", "delegates": "1"}
    assert steps_between(gated(reads=2), content, 0.05) <= 1


def test_a_range_beyond_one_does_not_clamp_and_stays() -> None:
    graph = Graph()
    inner = graph.quantized(graph.convolution(), (0.05, 4))
    module = graph.done(graph.quantized(graph.call(F.hardsigmoid, graph.read(inner)), (1 / 100, -128)))
    assert torch.allclose(run(applied(module)), run(module), atol=1 / 99)
    assert F.hardtanh in {node.target for node in applied(module).graph.nodes}


def test_a_bias_that_no_int32_holds_stays_in_its_layer() -> None:
    """A half more in steps of an input that is all but 0: the delegate would wrap it to the other sign."""
    graph = Graph()
    inner = graph.quantized(graph.convolution(), (0.05, 4))
    module = graph.done(graph.quantized(graph.call(F.hardsigmoid, graph.read(inner)), RANGE))
    (layer,) = module.graph.find_nodes(op="call_function", target=F.conv2d)
    read = layer.args[0]
    for node in (read, read.args[0]):
        node.args = (node.args[0], 1e-12, *node.args[2:])
    module.recompile()
    quantizes = applied(module).graph.find_nodes(op="call_function", target=QUANTIZE)
    assert ("n1", 0) in [node.meta.get("int8") for node in quantizes]
    assert not any("folded" in node.meta for node in quantizes)
