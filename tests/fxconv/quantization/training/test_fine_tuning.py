"""The loop that fine-tunes: what it gains, which epoch it keeps, and that it repeats itself."""

from __future__ import annotations

import fxconv_networks as networks
import pytest
import torch
from fxconv_trainings import NONE, TRAINED, distilled, images, same_weights
from torch import Tensor, nn

import fxconv
from fxconv.config import Mode, Teacher
from fxconv.data.labels import LabelledBatches
from fxconv.errors import UserError
from fxconv.models import forward
from fxconv.quantization import engine
from fxconv.quantization.fine_tuned import FineTuned


def test_distillation_regains_what_one_scale_a_layer_loses(trained):
    done = trained.training
    assert trained.verdict == "converted and verified"
    assert [row.stage for row in trained.ledger] == TRAINED
    assert isinstance(done, FineTuned)
    assert (done.images, done.validated, done.is_unseen) == (56, 8, True)
    assert done.before is not None
    assert done.after is not None
    assert done.after.sqnr_db > done.before.sqnr_db + 2
    assert done.kept > 0
    assert trained.warnings == ()


def test_the_weights_kept_are_those_of_the_best_epoch(trained):
    done = trained.training
    best = min(done.epochs, key=lambda epoch: epoch.validation)
    assert done.kept == best.number
    assert best.validation < done.start


def test_float_answers_are_learnt_of_heatmaps_too():
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.hm = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"hm": self.hm(torch.relu(self.features(x)))}

    done = fxconv.convert(Dense().eval(), [images(24)], mode=Mode.qat, epochs=2, learning_rate=1e-4, recipe=NONE)
    assert done.verified
    assert done.training.after.agreement is None
    assert len(done.training.epochs) == 2


def test_labels_are_learnt():
    x = images(64)
    labels = (x.mean((1, 2, 3)) > x.mean()).long().tolist()
    with torch.no_grad():
        model = networks.tiny().eval()
    done = fxconv.convert(
        model,
        [x],
        mode=Mode.qat,
        learn_from=Teacher.labels,
        training=LabelledBatches([x], labels),
        epochs=8,
        learning_rate=2e-3,
        recipe=NONE,
        min_sqnr=0.0,
    )
    training = done.training
    assert done.verified
    assert training.after.loss < training.before.loss
    assert training.after.accuracy is not None
    assert training.after.accuracy >= training.before.accuracy


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_whatever_the_caller_runs_in(context):
    with context():
        done = distilled(epochs=1)
    assert done.training is not None
    assert len(done.training.epochs) == 1


def test_training_that_harms_is_not_kept():
    done, static = (
        distilled(learning_rate=1.0, epochs=9, min_sqnr=-100.0),
        distilled(mode=Mode.static, epochs=20, learning_rate=3e-5),
    )
    assert done.training.kept == 0
    assert done.training.stopped_early
    assert len(done.training.epochs) == 5
    assert done.verified
    assert any("training brought nothing" in warning for warning in done.warnings)
    x = images(4)
    with engine.engine("qnnpack"):
        assert torch.equal(forward.outputs(done.int8, [(x,)])[0][0], forward.outputs(static.int8, [(x,)])[0][0])


def test_the_same_seed_trains_the_same(trained):
    again = distilled()
    assert again.training.epochs[-1].loss == trained.training.epochs[-1].loss
    assert same_weights(again, trained)


def test_training_images_without_training():
    with pytest.raises(UserError, match="training images and a checkpoint go with mode qat"):
        fxconv.convert(networks.tiny().eval(), [images(8)], training=[images(8)])
