"""Images with their targets: as they are given from Python, and in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from fxconv.data.calibration import Batches
from fxconv.data.calibration_arrays import Arrays
from fxconv.data.labels import LabelledBatches
from fxconv.data.targets import TargetArrays, TargetBatches, looked_at, open_judged, pairs, read_targets, with_targets
from fxconv.errors import UserError
from fxconv.models.preprocessing import Preprocessing
from fxconv.models.signature import InputSignature

ONE, TWO = InputSignature(("x",)), InputSignature(("left", "right"))
LISTED = InputSignature(("images",), as_list=True)
IMAGES = torch.arange(4 * 3 * 2 * 2).reshape(4, 3, 2, 2).float()


def given(batches, signature: InputSignature = ONE, most: int = 100) -> list:
    return list(pairs(with_targets(batches, signature, most), most))


def test_targets_are_passed_on_as_they_are():
    boxes = [{"boxes": torch.zeros(2, 4), "note": "crowd"}]
    (first, same), (second, none) = given([(IMAGES[:3], boxes), (IMAGES[3:], None)])
    assert torch.equal(first[0], IMAGES[:3])
    assert torch.equal(second[0], IMAGES[3:])
    assert same is boxes
    assert none is None


def test_images_alone_have_no_target():
    for batches in (IMAGES, [IMAGES], [(IMAGES,)], [[IMAGES]]):
        ((found,), target), *more = given(batches)
        assert torch.equal(found, IMAGES)
        assert (target, more) == (None, [])


def test_a_model_of_several_inputs_gets_all_of_them():
    for batch in (((IMAGES, IMAGES + 1), "truth"), (IMAGES, IMAGES + 1, "truth")):
        ((left, right), target) = given([batch], TWO)[0]
        assert torch.equal(right, left + 1)
        assert target == "truth"
    assert given([(IMAGES, IMAGES)], TWO)[0][1] is None


def test_a_list_of_images_is_stacked_for_a_model_that_takes_a_list():
    found, target = given([(tuple(IMAGES), ("a", "b", "c", "d"))], LISTED)[0]
    assert torch.equal(found[0], IMAGES)
    assert target == ("a", "b", "c", "d")
    assert given([list(IMAGES)], LISTED)[0][1] is None


def test_a_loader_is_read_once_in_the_order_it_has():
    loader = DataLoader(TensorDataset(IMAGES, torch.arange(4)), batch_size=3, shuffle=True)
    data = with_targets(loader, ONE, 100)
    once = [(images, target) for (images,), target in pairs(data, 100)]
    again = [(images, target) for (images,), target in pairs(data, 100)]
    assert sorted(torch.cat([target for _, target in once]).tolist()) == [0, 1, 2, 3]
    for (images, target), (same, also) in zip(once, again, strict=True):
        assert torch.equal(images, IMAGES[target])
        assert torch.equal(images, same) and torch.equal(target, also)


def test_no_more_whole_batches_are_read_than_are_needed():
    read = []

    def loader():
        for number in range(10):
            read.append(number)
            yield IMAGES[:2], number

    data = with_targets(loader(), ONE, 3)
    assert isinstance(data, TargetBatches)
    assert (data.count, read) == (4, [0, 1])
    assert [target for _, target in data.pairs(2)] == [0]
    assert [looked_at(data, count) for count in (1, 2, 3)] == [2, 2, 4]
    assert looked_at(Batches([IMAGES]), 3) == 3
    assert data.source == "4 images given from Python"


@pytest.mark.parametrize(
    ("batch", "signature", "message"),
    [
        ({"image": IMAGES}, ONE, "held_out: batch 2 is of type dict; give (images, targets), the images as a tensor"),
        ((IMAGES, 1, 2, 3), ONE, "batch 2 is a tuple of Tensor, int, int, int; give (images, targets)"),
        ((np.zeros(3), 1), ONE, "batch 2 is a tuple of ndarray, int;"),
        ((IMAGES, 1, 2, 3), TWO, "the images as a tuple of 2 tensors, or those alone"),
        ([IMAGES[0], IMAGES[0, :, :1]], LISTED, "batch 2 is a list of Tensor, Tensor;"),
        ((), ONE, "batch 2 is a tuple of nothing"),
    ],
)
def test_what_is_no_batch_is_named(batch, signature, message):
    good = (IMAGES, IMAGES, 0) if signature is TWO else (IMAGES, 0)
    with pytest.raises(UserError) as error:
        with_targets([good, batch], signature, 100)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_class_indices_go_with_their_images():
    data = LabelledBatches([IMAGES[:3], IMAGES[3:]], [3, 1, 0, 2])
    (_, first), (_, second) = pairs(data, 100)
    assert (first.tolist(), second.tolist(), first.dtype) == ([3, 1, 0], [2], torch.int64)
    assert [target for _, target in pairs(Batches([IMAGES]), 2)] == [None]
    assert with_targets(data, ONE, 1) is data


def masked(path, **arrays: object) -> None:
    np.savez(path, **arrays)


def test_arrays_of_images_and_targets(tmp_path):
    file = tmp_path / "masks.npz"
    truth = IMAGES[:, 0].to(torch.uint8)
    masked(file, y=truth.numpy(), x=IMAGES.numpy(), more=np.zeros(1))
    data = TargetArrays(file, Preprocessing(2, 2), 3, 2, 1, "--eval")
    (first, one), (second, two) = data.pairs(100)
    assert torch.equal(torch.cat([first[0], second[0]])[:, 0], torch.cat([one, two]).float())
    assert data.given.places == [1, 2, 0]
    assert (one.dtype, one.shape, two.shape) == (torch.uint8, (2, 2, 2), (1, 2, 2))
    assert len(list(data.pairs(2))) == 1
    assert "masks.npz" in data.source


def test_what_calibration_uses_is_not_judged_by(tmp_path):
    file = tmp_path / "masks.npz"
    masked(file, images=IMAGES.numpy(), targets=IMAGES.numpy())
    shape = Preprocessing(2, 2)
    but = Arrays(Path(f"{file}:images"), shape, 2, 2)
    with pytest.raises(UserError, match=r"--eval .*masks.npz: calibration uses images of the same file; give others"):
        open_judged(file, shape, 2, 2, 0, but)
    assert open_judged(file, shape, 2, 2, 0).count == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES, "labels": IMAGES}, "holds images, labels, and images and their targets are needed; save"),
        ({"images": IMAGES, "targets": IMAGES[:3]}, "4 images and targets of shape (3, 3, 2, 2); give a target for"),
        ({"images": IMAGES, "targets": torch.tensor(1)}, "4 images and targets of shape ();"),
    ],
)
def test_arrays_without_targets_are_told(tmp_path, arrays: dict[str, Tensor], message):
    file = tmp_path / "masks.npz"
    masked(file, **{name: value.numpy() for name, value in arrays.items()})
    with pytest.raises(UserError) as error:
        TargetArrays(file, Preprocessing(2, 2), 3, 2, 1, "--eval")
    assert str(error.value).startswith(f"--eval {file}: ")
    assert message in str(error.value)


def test_targets_that_are_no_numbers_are_not_unpickled(tmp_path):
    file = tmp_path / "objects.npz"
    masked(file, images=IMAGES.numpy(), targets=np.array([{}, {}, {}, {}], dtype=object))
    with pytest.raises(UserError, match="holds Python objects, which are not unpickled"):
        read_targets(file, None, True)


def test_what_eval_and_labels_name(tmp_path):
    file = tmp_path / "masks.npz"
    masked(file, images=IMAGES.numpy(), targets=IMAGES.numpy())
    assert read_targets(file, None, True) == file
    assert read_targets(None, None, True) is None
    with pytest.raises(
        UserError, match=r"--eval .*masks.npz: arrays go with --metric FILE.py:NAME; give one, or a fol"
    ):
        read_targets(file, None, False)
    with pytest.raises(UserError, match=r"--labels l.csv: the targets are in --eval .*; leave the list out"):
        read_targets(file, Path("l.csv"), True)
    with pytest.raises(UserError, match=r"gone.npz: no such file"):
        read_targets(tmp_path / "gone.npz", None, True)
