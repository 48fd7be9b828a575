"""Whether a layer computes with the int8 module's own integers, by hand."""

import pytest
import torch
from torch import Tensor

from fxconv.targets.qdq.own_integers import integer_problem


class Layer:
    """An int8 layer of two channels, as far as it is asked."""

    def __init__(self, bias: Tensor | None, by_channel: bool = True) -> None:
        values = torch.tensor([[0.5, -1.0], [3.0, 2.0]])
        if by_channel:
            scales = torch.tensor([0.5, 1.0], dtype=torch.float64)
            self.held = torch.quantize_per_channel(values, scales, torch.zeros(2, dtype=torch.int64), 0, torch.qint8)
        else:
            self.held = torch.quantize_per_tensor(values, 0.5, 0, torch.qint8)
        self.held_bias = bias

    def weight(self) -> Tensor:
        return self.held

    def bias(self) -> Tensor | None:
        return self.held_bias


BIAS = torch.tensor([0.26, -40000.0])


@pytest.mark.parametrize("by_channel", [True, False])
def test_all_are_the_same(by_channel):
    layer = Layer(BIAS, by_channel)
    # the input's scale is 0.1: the steps of the bias are 0.05 and 0.1, or 0.05 for both
    rounded = torch.tensor([0.25, -40000.0])
    assert integer_problem(layer, layer.held.dequantize(), rounded, 0.1) == ""
    assert integer_problem(Layer(None), Layer(None).held.dequantize(), None, 0.1) == ""


def test_one_of_a_weight():
    layer = Layer(None)
    weight = layer.held.dequantize()
    weight[1, 0] += 1.0
    told = integer_problem(layer, weight, None, 0.1)
    assert told == "1 of 4 integers of its weight differ from the int8 module's, the worst by 1"
    weight[1, 0] = torch.nan
    assert integer_problem(layer, weight, None, 0.1) != ""


def test_one_of_a_bias():
    layer = Layer(BIAS)
    told = integer_problem(layer, layer.held.dequantize(), torch.tensor([0.25, -40000.2]), 0.1)
    assert told == "1 of 2 integers of its bias differ from the int8 module's, the worst by 2"


def test_a_bias_in_one_alone():
    told = "has a bias in one of form and int8 module alone"
    assert integer_problem(Layer(None), Layer(None).held.dequantize(), BIAS, 0.1) == told
    assert integer_problem(Layer(BIAS), Layer(BIAS).held.dequantize(), None, 0.1) == told


def test_a_float_bias_where_inputs_are_ranged_at_every_call():
    layer = Layer(BIAS)
    assert integer_problem(layer, layer.held.dequantize(), BIAS.clone(), None) == ""
    assert integer_problem(layer, layer.held.dequantize(), BIAS + 0.01, None) == "its bias is not the int8 module's"
