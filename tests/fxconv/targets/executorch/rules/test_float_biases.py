"""Biases of which the delegate makes the same integers."""

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import Graph, applied, lowered, places, run, steps_between, without
from torch import fx

from fxconv.errors import ConversionError
from fxconv.targets.executorch.rules.float_biases import float_biases, made_of
from fxconv.targets.qdq.writer import DEQUANTIZE_CHANNELS


def with_integer_bias(integers: torch.Tensor) -> fx.GraphModule:
    graph = Graph()
    read, weight = graph.read(graph.x), graph.weight(8, 8, 3, 3)
    scales = graph.root.get_buffer(weight.args[1].target) * 0.02
    held = [graph.constant(value) for value in (integers, scales, torch.zeros(8, dtype=torch.int64))]
    limits = (-(2**31), 2**31 - 1, torch.int32)
    bias = graph.graph.call_function(DEQUANTIZE_CHANNELS, (*held, 0, *limits))
    return graph.done(graph.quantized(graph.call(F.conv2d, read, weight, bias, 1, 1), (0.05, 4)))


INTEGERS = torch.tensor([0, 1, -1, 77, -4095, 300_001, -9_999_999, 12_345_678], dtype=torch.int32)


def test_without_it_the_layer_is_not_in_int8() -> None:
    with pytest.raises((ConversionError, AssertionError)):
        assert places(with_integer_bias(INTEGERS), without(float_biases)) == {"convolution": "int8", "delegates": "1"}


def test_the_layer_is_int8_and_adds_the_same_integers() -> None:
    module = with_integer_bias(INTEGERS)
    content, found = lowered(module)
    assert found == {"convolution": "int8", "delegates": "1"}
    assert steps_between(module, content, 0.05) <= 1
    ruled = applied(module)
    (layer,) = ruled.graph.find_nodes(op="call_function", target=F.conv2d)
    scales = ruled.get_buffer(layer.args[1].args[1].target) * 0.02
    assert torch.equal(made_of(ruled.get_buffer(layer.args[2].target), scales), INTEGERS)
    assert torch.allclose(run(ruled), run(module), atol=0.0501)
