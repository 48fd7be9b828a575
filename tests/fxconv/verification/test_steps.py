"""The count of quantization steps, by hand."""

import torch

from fxconv.verification.steps import StepCount


def test_integers_are_held_against_others_of_the_same_scale():
    count = StepCount()
    assert count.add_integers(torch.tensor([0, 5, -7, 100]), torch.tensor([1, 7, -4, 100]))
    assert (count.values, count.worst, count.off) == (4, 3, 1)
    assert count.share == 0.25
    wanted = "25 % of its values are more than 2 steps from the float operation's, the worst 3 steps"
    assert count.problems() == [wanted]


def test_values_are_quantized_as_what_they_are_held_against():
    count = StepCount()
    got = torch.quantize_per_tensor(torch.tensor([0.0, 1.0, 2.0]), 0.1, 10, torch.quint8)
    assert count.add(torch.tensor([0.04, 1.0, 2.3]), got)
    assert (count.values, count.worst, count.off) == (3, 3, 1)


def test_another_shape_is_a_problem():
    count = StepCount()
    assert not count.add_integers(torch.zeros(2, 3), torch.zeros(3, 2))
    got = torch.quantize_per_tensor(torch.zeros(4), 0.1, 10, torch.quint8)
    assert not StepCount().add(torch.zeros(5), got)
    assert count.problems() == ["gives shape (3, 2), not (2, 3)"]
