"""Outputs beside each other: fractional and complex ones by their distance, whole ones as they are."""

import math

import pytest
import torch

from fxconv.measures.output_comparison import agreement, noise_of, shape_problem, within


def test_the_imaginary_part_counts():
    real = torch.randn(1, 64)
    wanted, got = torch.complex(real, real), torch.complex(real, -real)
    assert noise_of([wanted], [got]).sqnr == pytest.approx(10 * math.log10(2 / 4))
    assert noise_of([wanted], [wanted.clone()]).sqnr == math.inf
    assert not within([[wanted]], [[got]], 1e-3) and within([[wanted]], [[wanted.clone()]], 0.0)


def test_a_complex_output_beside_a_real_one_is_no_output_at_all():
    real = torch.randn(1, 8)
    assert noise_of([torch.complex(real, torch.zeros(1, 8))], [real]).sqnr == -math.inf


def test_truth_values_count_by_how_many_are_equal():
    wanted = torch.arange(100).remainder(2).bool()
    got = wanted.clone()
    got[:10] = ~got[:10]
    assert noise_of([wanted], [got]).sqnr == pytest.approx(10.0)
    assert noise_of([wanted], [~wanted]).sqnr < 1


def test_classes_count_by_how_many_are_equal_and_pixels_by_how_far_off_they_are():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 21, (1, 1000), generator=generator)
    wrong = classes.clone()
    wrong[:, :50] = torch.randint(0, 21, (1, 50), generator=generator)
    others = int((wrong != classes).sum())
    assert noise_of([classes], [wrong]).sqnr == pytest.approx(10 * math.log10(1000 / others))
    pixels = torch.randint(0, 255, (1, 3, 20, 20), generator=generator, dtype=torch.uint8)
    assert noise_of([pixels], [pixels + 1]).sqnr > 35  # none is equal, and all are nearly right


def test_an_offset_of_whole_numbers_lends_no_power():
    wanted = 1_000_000 + torch.arange(100)
    assert noise_of([wanted], [torch.full_like(wanted, 1_000_050)]).sqnr < 1


def test_whole_numbers_are_no_class_scores():
    scores = torch.tensor([[1, 5, 2]])
    assert agreement([[scores]], [[scores]]) is None
    assert agreement([[scores.float()]], [[scores.float()]]) == 1.0


def test_boxes_of_a_detector_that_finds_nothing_are_no_class_scores() -> None:
    scores, nothing = torch.tensor([[0.1, 0.9]]), torch.zeros(0, 4)
    assert agreement([[nothing]], [[nothing.bool()]]) is None
    assert agreement([[nothing, scores]], [[nothing.bool(), scores]]) == 1.0


def test_several_images_add_up():
    first, second = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 5.0])
    noise = noise_of([first, second], [first + 1, second])
    assert (noise.largest, noise.peak) == (1.0, 5.0)
    assert noise.sqnr == pytest.approx(10 * math.log10(50 / 2))


def test_what_is_no_number_is_infinitely_far():
    wanted = torch.tensor([1.0, 2.0])
    assert noise_of([wanted], [torch.tensor([1.0, math.nan])]).largest == math.inf
    assert noise_of([wanted], [torch.tensor([1.0, math.inf])]).sqnr == -math.inf
    assert noise_of([torch.tensor([math.inf])], [torch.tensor([math.inf])]).sqnr == math.inf


def test_shapes_are_told_before_values():
    assert shape_problem([[torch.ones(2)]], [[torch.ones(3)]]) == "outputs of shape [(3,)], not [(2,)]"
