"""How int8 answers beside float on images that were used for nothing else, and the grade of that."""

import pytest
import torch
from torch import Tensor, nn

from fxconv.measures.channel_noise import PartNoise
from fxconv.measures.fidelity import Fidelity, fidelity_of, graded, not_measured
from fxconv.measures.matched_boxes import matched
from rewrites import rewrite


def images(count: int, *shape: int) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(1, *shape, generator=generator),) for _ in range(count)]


class Returning(nn.Module):
    """What a function makes of the input."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor):
        return self.function(x)


def measured(wanted, got, given) -> Fidelity:
    traced = rewrite(nn.Sequential(nn.Conv2d(3, 3, 1))).module
    traced.forward = got
    return fidelity_of(Returning(wanted), traced, traced, given, "images of a test")


def test_class_scores_are_counted():
    def other(x: Tensor) -> Tensor:
        scores = x.mean((2, 3))
        return scores.flip(1) if x[0, 0, 0, 0] > 0.5 else scores

    given = images(20, 3, 4, 4)
    changed = sum(bool(x[0, 0, 0, 0] > 0.5 and x.mean((2, 3)).argmax() != 1) for (x,) in given)
    found = measured(lambda x: x.mean((2, 3)), other, given)
    assert (found.measure, found.same, found.asked, found.images) == ("same top-1", 20 - changed, 20, 20)
    assert 0 < changed < 12 and found.agreement == (20 - changed) / 20


def test_classes_of_pixels_are_counted_where_the_output_has_the_size_of_the_image():
    found = measured(lambda x: x.repeat(1, 2, 1, 1), lambda x: x.repeat(1, 2, 1, 1) + 0.01, images(16, 3, 8, 8))
    assert (found.measure, found.same, found.asked) == ("same class of pixel", 16 * 64, 16 * 64)
    smaller = measured(
        lambda x: x[..., ::2].repeat(1, 2, 1, 1), lambda x: x[..., ::2].repeat(1, 2, 1, 1), images(16, 3, 8, 8)
    )
    assert smaller.measure == "relative error"


def test_complex_outputs_have_a_relative_error_of_both_parts():
    def wanted(x: Tensor) -> Tensor:
        return torch.complex(x, x).repeat(1, 2, 1, 1)

    found = measured(wanted, lambda x: torch.complex(x, -x).repeat(1, 2, 1, 1), images(16, 3, 8, 8))
    assert found.measure == "relative error" and found.value == pytest.approx(2**0.5, rel=1e-4)
    assert found.grade == "poor" and found.worst is not None and "imaginary" in found.worst.part


def test_a_class_that_is_absent_spoils_no_grade():
    def wanted(x: Tensor) -> Tensor:
        return torch.cat([x[..., ::2, ::2], (x[:, :1, ::2, ::2] - 9).sigmoid()], 1)

    found = measured(wanted, lambda x: (wanted(x) * 64).round() / 64, images(16, 3, 8, 8))
    assert found.grade == "good" and found.worst is not None and not found.worst.is_constant


def test_an_image_has_a_relative_error():
    found = measured(lambda x: x, lambda x: x * 1.09, images(16, 3, 8, 8))
    assert found.measure == "relative error" and found.value == pytest.approx(0.09, rel=1e-4) and found.grade == "good"
    assert found.same is None and found.agreement is None


def test_features_have_a_cosine():
    found = measured(lambda x: x.flatten(2), lambda x: x.flatten(2) * 3, images(16, 3, 8, 8))
    assert found.measure == "cosine" and found.value == pytest.approx(1.0)
    assert found.grade == "poor"  # for it is three times too large


def test_whole_numbers_are_counted():
    found = measured(lambda x: x.argmax(1), lambda x: x.argmax(1), images(16, 3, 8, 8))
    assert (found.measure, found.same, found.asked) == ("same whole numbers", 16 * 64, 16 * 64)
    assert found.worst is None and found.grade == "good"


@pytest.mark.parametrize(
    ("same", "worst", "grade"),
    [
        (100, None, "good"),
        (95, None, "good"),
        (94, None, "fair"),
        (85, None, "fair"),
        (84, None, "poor"),
        (100, PartNoise(0, "channel 1", 4.9, False), "fair"),
        (84, PartNoise(0, "channel 1", 4.9, False), "poor"),
        (100, PartNoise(0, "channel 1", -0.1, False), "poor"),
        (100, PartNoise(0, "channel 1", 9.0, True), "poor"),
    ],
)
def test_grades_of_answers(same, worst, grade):
    assert graded(Fidelity(100, "", "same top-1", same, 100, sqnr_db=15.0, worst=worst)).grade == grade


@pytest.mark.parametrize(
    ("same", "decibels", "grade"), [(100, 9.0, "fair"), (100, 2.0, "poor"), (50, 20.0, "fair"), (50, 19.0, "poor")]
)
def test_close_calls_and_equal_answers_by_chance(same, decibels, grade):
    assert graded(Fidelity(100, "", "same top-1", same, 100, sqnr_db=decibels)).grade == grade


def test_embeddings_have_a_cosine():
    def unit(x: Tensor) -> Tensor:
        return nn.functional.normalize(x.flatten(1), dim=1)

    found = measured(unit, lambda x: unit(x + 0.01), images(16, 3, 8, 8))
    assert found.measure == "cosine" and found.value > 0.99 and found.grade == "good"


def test_what_float_never_changes_is_not_counted():
    def wanted(x: Tensor):
        return x, torch.arange(4.0)[None], torch.full([], x.shape[2])

    found = measured(wanted, lambda x: (-x, torch.arange(4.0)[None], torch.full([], x.shape[2])), images(16, 3, 8, 8))
    assert found.measure == "relative error" and found.grade == "poor"
    nothing = measured(lambda x: torch.zeros(1, 4), lambda x: torch.zeros(1, 4), images(16, 3, 8, 8))
    assert nothing.problem == "nothing that the model returns changes from image to image" and not nothing.grade


@pytest.mark.parametrize(("decibels", "grade"), [(20.0, "good"), (19.9, "fair"), (10.0, "fair"), (9.9, "poor")])
def test_grades_of_what_has_no_answers(decibels, grade):
    assert graded(Fidelity(16, "", "cosine", sqnr_db=decibels)).grade == grade


def test_what_was_not_measured_has_no_grade():
    assert graded(not_measured("nobody asked")) == Fidelity(problem="nobody asked")


@pytest.mark.parametrize(
    ("fidelity", "least", "missing"),
    [
        (Fidelity(100, "", "same top-1", 94, 100), None, ""),
        (Fidelity(100, "", "same top-1", 94, 100), 94.0, ""),
        (Fidelity(100, "", "same top-1", 94, 100), 95.0, "94 of 100 same top-1; required: 95 % (--min-agreement)"),
        (not_measured("few images"), 95.0, "not measured: few images; required: 95 % (--min-agreement)"),
        (Fidelity(100, "", "cosine", value=0.9), 0.0,
         "not measured: its outputs have no answers to count, but a cosine; required: 0 % (--min-agreement)"),
    ],
)  # fmt: skip
def test_what_is_asked_of_it(fidelity, least, missing):
    assert fidelity.missing(least) == missing


def test_boxes_that_overlap_by_half_match():
    ours = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5]])
    theirs = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5.1], [0, 0, 10, 4.9], [5, 5, 5, 5]])
    assert matched([ours], [theirs]) == (3, 4)
    assert matched([ours], [theirs[:2]]) == (0, 0)
