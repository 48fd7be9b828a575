"""What is learnt from: images, float answers or labels, and the distance from them."""

from __future__ import annotations

from typing import Any

import fxconv_networks as networks
import pytest
import torch
from fxconv_trainings import NONE, Returning, distilled, images
from torch import Tensor, nn

import fxconv
from fxconv.config import Config, Mode, Teacher
from fxconv.data.calibration import Batches
from fxconv.data.labels import LabelledBatches
from fxconv.errors import UserError
from fxconv.models.signature import InputSignature
from fxconv.quantization.training import training_set


def lesson_of(model: nn.Module, x: Tensor, **options: Any) -> training_set.TrainingSet:
    config = Config(mode=Mode.qat, **options)
    return training_set.read(model, InputSignature.of(model), Batches([x]), config, lambda *_: None)


def test_half_of_the_images_are_seen_mirrored():
    model, x = networks.tiny().eval(), images(20)
    lesson = lesson_of(model, x)
    assert len(lesson.right) == 40
    assert torch.equal(lesson.batch([3, 23])[0], torch.stack([x[3], x[3].flip(-1)]))
    assert float(lesson.loss(model, [3, 23]).detach()) == pytest.approx(0, abs=1e-6)
    drawn = [row for rows in lesson.shuffled(8, torch.Generator().manual_seed(0)) for row in rows]
    assert sorted(row % 20 for row in drawn) == sorted(lesson.rows)
    assert 0 < sum(row >= 20 for row in drawn) < len(drawn)


def test_distance_has_no_unit():
    a, b = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    spread, wider = float(a.var(correction=0)), float((7 * a).var(correction=0))
    assert torch.allclose(
        training_set.distance([a], [b], [spread]), training_set.distance([7 * a], [7 * b], [wider]), rtol=1e-4
    )
    assert training_set.distance([a], [a], [spread]) == 0
    scores, others = torch.randn(4, 10), torch.randn(4, 10)
    squared = (scores - others).square().mean() / 2
    assert torch.allclose(training_set.distance([a, scores], [a, others], [spread, 2.0]), squared, rtol=1e-5)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1000.0, 0.0), (0.0, 3.0), (0.0, 0.0)])
def test_outputs_of_one_number_are_learnt_image_by_image(scale, offset):
    class Regression(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.features(x)).mean((2, 3))) * scale + offset

    lesson = lesson_of(Regression().eval(), images(20))
    assert all(0 < spread < float("inf") for spread in lesson.spreads)
    assert float(lesson.loss(lambda x: torch.full((1, 1), offset), [0])) < 1e6


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("integers", "the model gives no floating-point outputs to learn from"),
        ("a number", "output 0, .* for one image, is not one row for each image"),
        ("anchors", "output 1, .*7, 4.* for one image, is not one row for each image"),
        ("a loop over the batch", "this model's graph holds for one image only"),
    ],
)
def test_what_cannot_be_learnt_from_in_batches(kind, problem):
    with pytest.raises(UserError, match=problem):
        fxconv.convert(Returning(kind).eval(), [images(20)], mode="qat", epochs=1, recipe=NONE)


def test_images_of_two_sizes():
    batches = [images(4), torch.rand(4, 3, 48, 48)]
    with pytest.raises(UserError, match="images to train on must be of one size"):
        fxconv.convert(networks.tiny().eval(), batches, mode="qat", epochs=1, recipe=NONE)


@pytest.mark.parametrize(
    ("training", "problem"),
    [
        ([images(20)], "training on labels needs them"),
        (LabelledBatches([images(20)], [0] * 19 + [-1]), "class -1 of the training images is beyond"),
        (LabelledBatches([images(20)], [10] * 20), "class 10 of the training images is beyond the model's 10 classes"),
    ],
)
def test_labels_that_do_not_fit(training, problem):
    with pytest.raises(UserError, match=problem):
        fxconv.convert(networks.tiny().eval(), [images(8)], mode=Mode.qat, learn_from=Teacher.labels, training=training)


def test_more_images_than_the_memory_should_hold(monkeypatch):
    monkeypatch.setattr(training_set, "_MOST_BYTES", 4 * 3 * 16 * 16 * 20)
    with pytest.raises(UserError, match=r"64 images takes .*, answers included; give at most 19 \(training\)"):
        distilled()
