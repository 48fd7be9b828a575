"""What the audit says of weights, biases and ranges, of layers made by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fxconv.quantization.expected_ranges import Expected
from fxconv.quantization.recipes.bias_correction import bias_correction
from fxconv.verification.weights_and_ranges import AllowedChanges, follow_problem, range_problem, weight_problem

SCALES = torch.tensor([0.1, 0.5], dtype=torch.float64)
INTEGERS = torch.tensor([[10.0, -20.0, 30.0], [1.0, 2.0, 3.0]])
BIAS = torch.tensor([0.25, -4.0])


class Int8(nn.Module):
    """An int8 layer, as far as its weights and bias go; a scale for each of its two outputs."""

    def __init__(self, integers: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        zeros = torch.zeros(2, dtype=torch.int64)
        self.packed = torch._make_per_channel_quantized_tensor(integers.to(torch.int8), SCALES, zeros, 0)
        self.own_bias = bias

    def weight(self) -> Tensor:
        return self.packed

    def bias(self) -> Tensor | None:
        return self.own_bias


def floating(steps: Tensor, bias: Tensor | None = BIAS) -> nn.Linear:
    """A float layer with weights of so many steps."""
    layer = nn.Linear(steps.shape[1], 2, bias=bias is not None)
    layer.weight = nn.Parameter((steps * SCALES[:, None]).float(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return layer


def told(of: nn.Module, int8: nn.Module, changes: AllowedChanges | None = None) -> str:
    return weight_problem("head", of, int8, changes or AllowedChanges())


def test_weights_are_within_half_a_step() -> None:
    int8 = Int8(INTEGERS, BIAS)
    assert told(floating(INTEGERS + 0.49), int8) == ""
    assert told(floating(INTEGERS - 0.9), int8) == "its int8 weights are up to 0.9 steps from the float weights"
    one_off = INTEGERS.clone()
    one_off[1, 2] += 1
    assert told(floating(one_off), int8) == "its int8 weights are up to 1 steps from the float weights"


def test_weights_rounded_to_either_side_are_within_a_step() -> None:
    int8, either = Int8(INTEGERS, BIAS), AllowedChanges(rounded=frozenset({"head"}))
    assert told(floating(INTEGERS + 0.9), int8, either) == ""
    assert told(floating(INTEGERS + 1.5), int8, either) == (
        "its int8 weights are up to 1.5 steps from the float weights"
    )


def test_weights_may_be_cut_off_where_that_brings_them_nearer() -> None:
    # with a step more for the largest of them the others, which lie on steps, would be half a step off
    near, far = (torch.tensor([[largest] + [60.0] * 20] * 2) for largest in (128.0, 200.0))
    int8, cuts = Int8(near.clamp(max=127), BIAS), AllowedChanges(cuts=True)
    assert told(floating(near), int8, cuts) == ""
    assert told(floating(near), int8) == "its int8 weights are up to 1 steps from the float weights"
    assert told(floating(far), int8, cuts) == "its int8 weights are up to 73 steps from the float weights"


def test_a_bias_is_the_float_layers() -> None:
    assert told(floating(INTEGERS), Int8(INTEGERS, BIAS.clone())) == ""
    for bias in (None, torch.zeros(2), BIAS + 1e-3):
        assert told(floating(INTEGERS), Int8(INTEGERS, bias)) == "its bias is not the float layer's"
    assert told(floating(INTEGERS, None), Int8(INTEGERS, None)) == ""


def test_a_corrected_bias_is_the_one_the_weights_call_for() -> None:
    layer, mean = floating(INTEGERS + 0.4), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    changes = AllowedChanges({"head": mean})
    addition = bias_correction(layer, (INTEGERS * SCALES[:, None]).float(), mean)
    torch.testing.assert_close(addition, torch.tensor([0.04 * 6, 0.2 * 6]))
    assert told(layer, Int8(INTEGERS, BIAS + addition), changes) == ""
    for bias in (None, BIAS, BIAS - addition, BIAS + 1.01 * addition):
        assert told(layer, Int8(INTEGERS, bias), changes) == (
            "its bias is not the float layer's, corrected for its rounded weights"
        )


def quantized(scale: float, zero_point: int) -> Tensor:
    return torch.quantize_per_tensor(torch.rand(4), scale, zero_point, torch.quint8)


def test_what_follows_has_the_range_of_its_input() -> None:
    given = (quantized(0.1, 10),)
    assert follow_problem(given, quantized(0.1, 10)) == ""
    assert follow_problem(given, [quantized(0.1, 10), quantized(0.1, 10)]) == ""
    assert follow_problem(given, quantized(0.1, 11)).startswith("runs with scale 0.1 and zero point 11, its input's")
    assert follow_problem(given, quantized(0.11, 10)).startswith("runs with scale 0.11 and zero point 10, its input's")
    assert follow_problem(given, torch.rand(4)) == "gives no quantized tensor"


def test_a_range_is_the_one_that_was_calibrated() -> None:
    expected = Expected(0.1, 10)
    assert range_problem(expected, quantized(0.1, 10)) == ""
    for scale, zero_point in ((0.1, 11), (0.11, 10)):
        assert range_problem(expected, quantized(scale, zero_point)) == (
            f"runs with scale {scale} and zero point {zero_point}, calibrated were 0.1 and 10"
        )
    assert range_problem(expected, torch.rand(4)) == "gives no quantized tensor"
    assert range_problem(Expected(0.1, 10, problem="it is wrong"), quantized(0.1, 10)) == "it is wrong"
