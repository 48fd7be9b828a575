"""Where calibration images come from: photographs, arrays, generated ones, tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fxconv.calibration import Arrays, Batches, Generated, Photographs, open_calibration
from fxconv.errors import UserError
from fxconv.preprocessing import Preprocessing

SMALL = Preprocessing().resized(None, 16, 16)


@pytest.fixture
def folder(tmp_path):
    """Twelve photographs of one grey each, in nested folders, and a file of another kind."""
    for index in range(12):
        home = tmp_path / ("" if index < 4 else "inner" if index < 8 else "inner/deeper")
        home.mkdir(exist_ok=True)
        suffix = (".jpg", ".PNG", ".bmp")[index % 3]
        Image.new("RGB", (20, 20), (index * 20,) * 3).save(home / f"{index:02}{suffix}")
    (tmp_path / "labels.csv").write_text("0,1\n")
    return tmp_path


def greys(data) -> list[int]:
    """Which of the photographs were drawn, in order, read back from their pixels."""
    mean, std = torch.tensor(SMALL.mean).view(3, 1, 1), torch.tensor(SMALL.std).view(3, 1, 1)
    return [round(((image * std + mean) * 255).mean().item() / 20) for image in data.images()]


def test_photographs_are_drawn_from_nested_folders(folder):
    assert sorted(greys(Photographs(folder, SMALL, 100, 10, seed=0))) == list(range(12))


def test_the_seed_decides_which_are_drawn_and_in_which_order(folder):
    first = greys(Photographs(folder, SMALL, 5, 10, seed=0))
    assert len(set(first)) == 5
    assert greys(Photographs(folder, SMALL, 5, 10, seed=0)) == first
    assert greys(Photographs(folder, SMALL, 5, 10, seed=1)) != first


def test_a_second_reading_gives_the_same_images(folder):
    data = Photographs(folder, SMALL, 5, 2, seed=0)
    assert torch.equal(torch.cat(list(data.batches())), data.first(5))


def test_batches_have_the_asked_size_and_the_rest(folder):
    data = Photographs(folder, SMALL, 7, 3, seed=0)
    assert [tuple(batch.shape) for batch in data.batches()] == [(3, 3, 16, 16), (3, 3, 16, 16), (1, 3, 16, 16)]
    assert [len(batch) for batch in data.batches(limit=4)] == [3, 1]


@pytest.mark.parametrize("damage", ["text", "cut off"])
def test_an_unreadable_photograph_is_skipped_named_and_counted(damage, folder):
    broken = folder / "inner" / "broken.png"
    if damage == "text":
        broken.write_text("not a photograph")
    else:
        whole = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(whole).save(broken)
        broken.write_bytes(broken.read_bytes()[:3000])
    data = Photographs(folder, SMALL, 100, 10, seed=0)
    assert data.count == 13
    for _ in range(2):  # told once, however often the images are read
        assert sorted(greys(data)) == list(range(12))
        assert data.count == 12
        assert data.source == f"12 of 13 photographs in {folder}, seed 0; 1 could not be read"
        assert data.skipped == 1
        (warning,) = data.warnings
        assert warning.startswith("inner/broken.png (")
        assert warning.endswith("): this photograph was left out of calibration")


def test_photographs_cannot_fill_other_channel_counts(folder):
    with pytest.raises(UserError, match=r"photographs cannot fill 4 channels; give an \.npy array"):
        Photographs(folder, SMALL.resized(4, 16, 16), 10, 10, 0)


def test_float_arrays_are_used_as_they_are(tmp_path):
    array = np.random.default_rng(0).normal(size=(5, 3, 16, 16))
    np.save(tmp_path / "x.npy", array)
    data = Arrays(tmp_path / "x.npy", SMALL, 4, 3)
    assert data.source == f"first 4 of 5 preprocessed arrays in {tmp_path / 'x.npy'}"
    assert torch.equal(torch.cat(list(data.batches())), torch.from_numpy(array[:4].astype(np.float32)))


def test_float_arrays_are_copies_of_the_file(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3, 16, 16), np.float32))
    data = Arrays(tmp_path / "x.npy", SMALL, 2, 2)
    next(data.images()).zero_()  # a view of the mapped file would crash here or change it
    assert next(data.images()).sum().item() == 3 * 16 * 16


@pytest.mark.parametrize("size", [(16, 16), (40, 30)], ids=["right size", "other size"])
def test_uint8_arrays_are_preprocessed_as_photographs(size, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", array)
    data = Arrays(tmp_path / "x.npy", SMALL, 10, 10)
    assert data.count == 2
    assert torch.equal(data.first(2), torch.stack([SMALL.pixels(row) for row in array]))


def test_uint8_arrays_of_many_channels_cannot_be_resized(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 40, 40, 4), np.uint8))
    with pytest.raises(UserError, match=r"cannot be resized; give them as \[N, 16, 16, 4\]"):
        Arrays(tmp_path / "x.npy", SMALL.resized(4, 16, 16), 10, 10)


def test_generated_images_are_told_and_warned_of():
    data = Generated(SMALL, 4, 2, seed=3)
    assert data.source == "4 generated images (1/f noise and dead leaves, seed 3), no photographs"
    assert data.warnings == ["calibrated on generated images; photographs (--calib DIR) give better ranges"]
    assert torch.equal(data.first(4), torch.cat(list(Generated(SMALL, 4, 2, seed=3).batches())))
    assert not torch.equal(data.first(4), Generated(SMALL, 4, 2, seed=4).first(4))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_generated_images_fill_any_number_of_channels(channels):
    assert Generated(SMALL.resized(channels, 16, 24), 2, 2, 0).first(2).shape == (2, channels, 16, 24)


def test_the_kind_of_source_follows_the_path(folder, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 16, 16), np.float32))
    kinds = {
        None: Generated,
        folder: Photographs,
        tmp_path / "x.npy": Arrays,
    }
    for path, kind in kinds.items():
        assert type(open_calibration(path, SMALL, 1, 1, 0)) is kind
    with pytest.raises(UserError, match="no such file or folder"):
        open_calibration(tmp_path / "gone", SMALL, 1, 1, 0)


def test_tensors_from_python_may_come_from_a_generator():
    given = [torch.zeros(2, 3, 4, 4), torch.ones(1, 3, 4, 4)]
    data = Batches(batch for batch in given)
    assert data.count == 3
    for _ in range(2):
        assert torch.equal(torch.stack(list(data.images())), torch.cat(given))


def test_a_lone_tensor_is_one_batch():
    data = Batches(torch.arange(6.0).view(2, 3, 1, 1))
    assert (data.count, data.batch_size) == (2, 2)
    assert [tuple(batch.shape) for batch in data.batches()] == [(2, 3, 1, 1)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one tensor"),
        ([torch.zeros(0, 3, 4, 4)], "at least one tensor"),
        (["photo.jpg"], "at least one tensor"),
        ([torch.full((1, 3, 4, 4), float("nan"))], "not finite"),
        ([torch.full((1, 3, 4, 4), float("inf"))], "not finite"),
    ],
    ids=["none", "empty", "no tensor", "NaN", "infinite"],
)
def test_tensors_from_python_must_hold_numbers(given, message):
    with pytest.raises(ValueError, match=message):
        Batches(given)
