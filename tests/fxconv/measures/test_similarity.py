"""Signal, noise and equal answers, added up image by image."""

from __future__ import annotations

import math

import pytest
import torch

from fxconv.measures.similarity import Similarity, answers, class_scores, has_class_scores


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values])


def test_decibels_are_of_all_images_together():
    tally = Similarity()
    tally.add([row(3.0, 0.0)], [row(3.0, 1.0)])
    tally.add([row(4.0, 5.0)], [row(4.0, 4.0)])
    assert tally.sqnr_db == pytest.approx(10 * math.log10(50 / 2))


def test_the_worst_of_several_outputs_counts():
    tally = Similarity()
    tally.add([row(100.0, 0.0), row(1.0, 0.0)], [row(100.0, 0.1), row(1.0, 0.1)])
    assert tally.sqnr_db == pytest.approx(20.0)


def test_equal_outputs_are_infinitely_like_and_lost_ones_are_not_at_all():
    same, lost, other = Similarity(), Similarity(), Similarity()
    same.add([row(1.0, math.inf)], [row(1.0, math.inf)])
    lost.add([row(1.0, 2.0)], [row(1.0, math.nan)])
    other.add([row(1.0, 2.0)], [row(1.0, 2.0, 3.0)])
    assert (same.sqnr_db, lost.sqnr_db, other.sqnr_db) == (math.inf, -math.inf, -math.inf)


def test_agreement_is_the_share_of_images_with_the_same_class_on_top():
    tally = Similarity()
    for found in (row(0.0, 1.0), row(0.0, 1.0), row(1.0, 0.0), row(0.2, 0.4)):
        tally.add([row(0.0, 1.0)], [found])
    assert tally.agreement == 0.75


def test_without_class_scores_there_is_no_agreement():
    tally = Similarity()
    tally.add([torch.zeros(1, 3, 4, 4), torch.zeros(1, 1), torch.zeros(5, 4)], [torch.zeros(1, 3, 4, 4)] * 3)
    assert tally.agreement is None


def test_only_what_the_model_returns_may_be_scores():
    tally = Similarity(scores=1)
    tally.add([torch.zeros(1, 3, 2, 2), row(0.0, 1.0)], [torch.zeros(1, 3, 2, 2), row(1.0, 0.0)])
    assert tally.agreement is None


def test_scores_are_rows_and_answers_their_largest():
    outputs = [row(0.0, 2.0, 1.0), torch.zeros(1, 1), torch.zeros(4, 3), torch.zeros(1, 2, 2)]
    assert class_scores(outputs) == outputs[:1]
    assert answers(outputs) == [1]


def test_detections_are_no_scores_even_if_there_is_one():
    assert has_class_scores([[row(0.0, 1.0)], [row(2.0, 1.0)]])
    assert not has_class_scores([[torch.zeros(1, 4)], [torch.zeros(3, 4)]])
    assert not has_class_scores([[torch.zeros(1, 3, 4)]])
    assert not has_class_scores([])
