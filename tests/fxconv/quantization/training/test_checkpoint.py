"""The checkpoint of a training: what goes on from it, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from fxconv_trainings import distilled, images, same_weights
from torch import nn

from fxconv.errors import UserError


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of one epoch; tests go on from copies of it."""
    path = tmp_path_factory.mktemp("checkpoint") / "training.pt"
    distilled(checkpoint=path, epochs=1)
    return path


@pytest.fixture
def path(one_epoch: Path, tmp_path: Path) -> Path:
    return shutil.copy(one_epoch, tmp_path / "training.pt")


def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(trained, tmp_path):
    path = tmp_path / "training.pt"

    def stop(step: str, done: int, total: int) -> None:
        if step.startswith("training, epoch 4"):
            raise Stopped

    with pytest.raises(Stopped):
        distilled(checkpoint=path, progress=stop)
    assert path.exists()
    done = distilled(checkpoint=path)
    assert done.training.resumed == 3
    assert [epoch.loss for epoch in done.training.epochs] == [epoch.loss for epoch in trained.training.epochs]
    assert same_weights(done, trained)


def test_a_checkpoint_of_other_choices(path):
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"training.pt': is of a training of another model, on other images or with"):
        distilled(checkpoint=path, epochs=1, learning_rate=1e-3)
    assert path.read_bytes() == before


def test_what_the_file_is_like_may_be_decided_after_the_training(path):
    done = distilled(checkpoint=path, epochs=1, golden=False, runtime="pytorch_android_lite==2.1.0", java=True)
    assert (done.training.resumed, len(done.training.epochs)) == (1, 1)
    assert done.golden.cases == 0 and done.runtime is not None


def test_a_checkpoint_of_other_images(path):
    with pytest.raises(UserError, match="on other images"):
        distilled(checkpoint=path, epochs=1, training=[images(64, seed=5, size=16)])


@pytest.mark.parametrize("content", [b"", b"no checkpoint", nn.Linear(2, 2).state_dict(), torch.zeros(3)])
def test_a_file_that_is_no_checkpoint(content, tmp_path):
    path = tmp_path / "training.pt"
    if not isinstance(content, bytes):
        torch.save(content, path)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"training.pt': is no checkpoint of a training by fxconv"):
        distilled(checkpoint=path)
    assert path.read_bytes() == before
