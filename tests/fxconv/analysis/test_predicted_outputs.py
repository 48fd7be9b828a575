"""What each kind of output is told as, by shape, by the names of a detector's outputs and by what the file says."""

from __future__ import annotations

import math

import pytest
import torch

from fxconv.analysis.predicted_outputs import (
    ClassScore,
    ClassShare,
    ClassShares,
    Detections,
    Found,
    Scores,
    Values,
    told,
)
from fxconv.models.photograph_places import Places

WHERE = Places(left=10.0, top=-4.0, across=2.0, down=3.0)
NAMES = ("cat", "dog", "cow")


def one(tensor, labels=None, top=5, name="output"):
    (found,) = told([(name, tensor)], False, labels, WHERE, top)
    return found


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_scores_of_classes_by_softmax(shape):
    found = one(torch.tensor([1.0, 3.0, 2.0]).view(shape), NAMES, top=2)
    total = math.exp(1) + math.exp(2) + math.exp(3)
    assert found == Scores(
        "output",
        shape,
        3,
        "softmax",
        (
            ClassScore(1, "dog", 3.0, pytest.approx(math.exp(3) / total)),
            ClassScore(2, "cow", 2.0, pytest.approx(math.exp(2) / total)),
        ),
    )


def test_probabilities_stay_what_they_are():
    found = one(torch.tensor([[0.2, 0.7999, 0.0]]))
    assert found.probabilities == "as given"
    assert [(each.index, each.label) for each in found.top] == [(1, None), (0, None), (2, None)]
    assert [each.probability for each in found.top] == [each.score for each in found.top]
    # as those of a sigmoid are none: they do not sum to 1
    assert one(torch.tensor([[0.2, 0.9, 0.0]])).probabilities == "softmax"
    assert one(torch.tensor([[-0.2, 1.2, 0.0]])).probabilities == "softmax"


def test_of_equal_scores_the_first_class_is_first():
    assert [each.index for each in one(torch.zeros(1, 300)).top] == [0, 1, 2, 3, 4]


def test_names_of_another_number_of_classes_are_not_used():
    assert {each.label for each in one(torch.randn(1, 4), NAMES).top} == {None}


def test_shares_of_a_dense_output():
    scores = torch.zeros(1, 3, 2, 4)
    scores[0, 2, 0] = 1.0  # four places of eight
    scores[0, 1, 1, 0] = 1.0
    found = one(scores, NAMES)
    tops = (ClassShare(2, "cow", 0.5), ClassShare(0, "cat", 0.375), ClassShare(1, "dog", 0.125))
    assert found == ClassShares("output", (1, 3, 2, 4), 3, tops)
    assert one(scores, NAMES, top=1).top == tops[:1]
    assert [each.index for each in one(torch.zeros(1, 3, 2, 4)).top] == [0]  # none that is nowhere


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]), id="one channel"),
        pytest.param(torch.tensor([[1.0, 6.0, 2.0, 3.0]]).view(2, 2), id="several rows"),
        pytest.param(torch.tensor([[1, 6, 2, 3]]), id="whole numbers"),
        pytest.param(torch.tensor([1.0, 2.0, 3.0, 6.0]), id="no batch"),
    ],
)
def test_anything_else_is_numbers(tensor):
    assert one(tensor) == Values("output", tuple(tensor.shape), 1.0, 3.0, 6.0)


def test_numbers_that_are_not_finite_are_counted():
    found = one(torch.tensor([[1.0, math.nan, 3.0, math.inf]]))
    assert found == Values("output", (1, 4), 1.0, 2.0, 3.0, not_finite=2)
    assert one(torch.empty(0)) == Values("output", (0,), None, None, None)
    assert one(torch.tensor([True, False])) == Values("output", (2,), 0.0, 0.5, 1.0)


def test_peaks_are_the_valid_rows_here_and_in_the_photograph():
    rows = torch.tensor([[[8.0, 4.0, 0.25, 2.0, 1.0], [0.0, 12.0, 0.75, 0.0, 1.0], [0.0] * 5]])
    outputs = [("peaks", rows), ("wh", torch.ones(1, 2, 4, 4))]
    peaks, other = told(outputs, True, NAMES, WHERE, 5)
    assert peaks == Detections(
        "peaks",
        "peaks",
        2,
        (
            Found(0, "cat", 0.75, (0.0, 12.0), (10.0, 32.0)),
            Found(2, "cow", 0.25, (8.0, 4.0), (26.0, 8.0)),
        ),
    )
    assert other == Values("wh", (1, 2, 4, 4), 1.0, 1.0, 1.0)  # sizes, and no scores of two classes
    best, _ = told(outputs, True, NAMES, None, 1)
    assert (best.count, best.top) == (2, (Found(0, "cat", 0.75, (0.0, 12.0), None),))
    assert isinstance(told([("output", torch.ones(1, 3))], True, None, WHERE, 5)[0], Scores)  # it says so, and has none


@pytest.mark.parametrize("prefix", ["", "0."])
def test_boxes_scores_and_labels_are_detections(prefix):
    outputs = [
        (f"{prefix}boxes", torch.tensor([[0.0, 0.0, 4.0, 2.0], [1.0, 2.0, 3.0, 4.0]])),
        (f"{prefix}labels", torch.tensor([7, 1])),
        (f"{prefix}scores", torch.tensor([0.25, 0.5])),
        (f"{prefix}masks", torch.ones(2, 1, 4, 4)),
    ]
    found, masks = told(outputs, False, NAMES, WHERE, 5)
    assert found == Detections(
        "0" if prefix else "detections",
        "boxes",
        2,
        (
            Found(1, "dog", 0.5, (1.0, 2.0, 3.0, 4.0), (12.0, 2.0, 16.0, 8.0)),
            Found(7, None, 0.25, (0.0, 0.0, 4.0, 2.0), (10.0, -4.0, 18.0, 2.0)),
        ),
    )
    assert masks == Values(f"{prefix}masks", (2, 1, 4, 4), 1.0, 1.0, 1.0)
    none = [(name, tensor[:0]) for name, tensor in outputs]
    assert told(none, False, NAMES, WHERE, 5)[0] == Detections(found.name, "boxes", 0, ())


def test_such_names_alone_are_no_detections():
    outputs = [("boxes", torch.ones(1, 3)), ("labels", torch.ones(2)), ("scores", torch.ones(1, 3))]
    assert [each.kind for each in told(outputs, False, None, WHERE, 5)] == ["scores", "values", "scores"]
    assert [each.kind for each in told(outputs[:1], False, None, WHERE, 5)] == ["scores"]


def test_several_outputs_each_by_its_name():
    outputs = [("out", torch.ones(1, 2, 3, 3)), ("aux", torch.ones(1, 2)), ("aux", torch.ones(1, 1))]
    found = told(outputs, False, None, WHERE, 5)
    assert [(each.name, each.kind) for each in found] == [("out", "shares"), ("aux", "scores"), ("aux", "values")]
