"""Scores of int8 modules: by the float model's answers, and by labels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fxconv.data.calibration import Batches
from fxconv.data.labels import LabelledBatches
from fxconv.errors import UserError
from fxconv.measures.judge import Judge, Judgement, Kept, Score
from fxconv.models.signature import InputSignature


class Scores(nn.Module):
    """The input as scores, with the classes turned by some places on images whose first value is above 0."""

    def __init__(self, turn: int = 0) -> None:
        super().__init__()
        self.turn = turn

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x[:, :1] > 0, x.roll(self.turn, 1), x)


# The largest value stands at 0, 1, 2, 1; the first value of the first image alone is above 0.
IMAGES = torch.tensor([[5.0, 0, 0], [0, 5.0, 0], [0, 0, 5.0], [-1, 5.0, 0]])


def judge(data, model: nn.Module | None = None, count: int = 100) -> Judge:
    model = model or Scores()
    return Judge(model, InputSignature.of(model), data, count)


def test_agreement_is_with_the_float_model():
    by = judge(Batches([IMAGES]))
    assert by.score(Scores()) == Score(1.0)
    assert by.score(Scores(turn=1)) == Score(0.75)
    assert by.float_accuracy is None


def test_accuracy_is_with_the_labels():
    by = judge(LabelledBatches([IMAGES[:1], IMAGES[1:]], [1, 1, 2, 0]))
    assert by.float_accuracy == 0.5
    assert by.score(Scores(turn=1)) == Score(0.75, 0.75)


def test_no_more_images_are_used_than_asked_for():
    by = judge(LabelledBatches([IMAGES], [1, 1, 2, 0]), count=2)
    assert (by.images, by.float_accuracy, len(by.examples(3))) == (2, 0.5, 3)


def test_labels_must_be_classes_of_the_model():
    with pytest.raises(UserError, match=r"class index 3 in .*: the model has 3 classes, 0 to 2; number the folders"):
        judge(LabelledBatches([IMAGES], [0, 1, 2, 3]))


def test_labels_are_one_for_each_image():
    with pytest.raises(ValueError, match="3 labels for 4 images"):
        LabelledBatches([IMAGES], [0, 1, 2])


def test_a_model_without_class_scores_is_told_so():
    with pytest.raises(UserError, match=r"outputs \(1, 4, 8, 8\) are no class scores .*: --min-sqnr") as error:
        judge(Batches([torch.zeros(2, 3, 8, 8)]), nn.Conv2d(3, 4, 1))
    assert "\n" not in str(error.value)


def judgement(accuracy: float | None, after: Score, allowed: float | None) -> Judgement:
    return Judgement("", 100, accuracy, after, after, 1.0, allowed)


def test_the_budget_is_about_agreement_or_about_accuracy():
    assert judgement(None, Score(0.99), 0.99).measure == "top-1 agreement with float"
    assert judgement(None, Score(0.99), 0.99).allows(Score(0.99))
    assert not judgement(None, Score(0.99), 0.99).allows(Score(0.98))
    by_label = judgement(0.8, Score(0.5, 0.79), 0.79)
    assert (by_label.measure, by_label.score) == ("accuracy", 0.79)
    assert by_label.allows(Score(0.1, 0.8))
    assert not by_label.allows(Score(1.0, 0.78))


def test_shares_are_compared_with_room_for_rounding():
    assert judgement(0.7, Score(0.9, 0.67), 0.7 - 3 / 100).allows(Score(0.9, 0.67))
    assert not judgement(0.7, Score(0.9, 0.67), 0.7 - 3 / 100).allows(Score(0.9, 0.6699))


def test_the_price_is_that_of_all_kept_layers():
    kept = (Kept("a", "Conv2d", 3.0, 300, 0.1), Kept("b", "Add", 4.0, 0, 0.2))
    made = Judgement("", 1, None, Score(0.5), Score(1.0), 1.0, 0.99, kept)
    assert (made.extra_bytes, made.paths) == (300, ("a", "b"))
