"""Where calibration images come from: photographs, arrays, generated ones, tensors."""

from __future__ import annotations

import os
import tracemalloc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fxconv.data.calibration import Batches, CalibrationData
from fxconv.data.calibration_arrays import Arrays, NamedArrays
from fxconv.data.calibration_generated import Generated
from fxconv.data.calibration_photographs import Photographs
from fxconv.data.calibration_sources import open_calibration
from fxconv.errors import UserError
from fxconv.models.preprocessing import Preprocessing

SMALL = Preprocessing().resized(None, 16, 16)


def first(data: CalibrationData, count: int) -> torch.Tensor:
    """The first rows of what calibrates a network of one input, as a batch."""
    return torch.cat([image for (image,) in data.examples(count)])


def all_of(data: CalibrationData) -> torch.Tensor:
    """All rows of what calibrates a network of one input."""
    return torch.cat([batch for (batch,) in data.batches()])


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


def greys(data: CalibrationData) -> list[int]:
    """Which of the photographs were drawn, in order, read back from their pixels."""
    mean, std = torch.tensor(SMALL.mean).view(3, 1, 1), torch.tensor(SMALL.std).view(3, 1, 1)
    return [round(((image * std + mean) * 255).mean().item() / 20) for (image,) in data.images()]


def test_photographs_are_drawn_from_nested_folders(folder):
    assert sorted(greys(Photographs(folder, SMALL, 100, 10, seed=0))) == list(range(12))


def test_the_seed_decides_which_are_drawn_and_in_which_order(folder):
    first = greys(Photographs(folder, SMALL, 5, 10, seed=0))
    assert len(set(first)) == 5
    assert greys(Photographs(folder, SMALL, 5, 10, seed=0)) == first
    assert greys(Photographs(folder, SMALL, 5, 10, seed=1)) != first


def test_a_second_reading_gives_the_same_images(folder):
    data = Photographs(folder, SMALL, 5, 2, seed=0)
    assert torch.equal(all_of(data), first(data, 5))


def test_batches_have_the_asked_size_and_the_rest(folder):
    data = Photographs(folder, SMALL, 7, 3, seed=0)
    assert [tuple(batch.shape) for (batch,) in data.batches()] == [(3, 3, 16, 16), (3, 3, 16, 16), (1, 3, 16, 16)]
    assert [len(batch) for (batch,) in data.batches(limit=4)] == [3, 1]


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
        assert warning.startswith("inner/broken.png was left out of calibration: ")


def test_others_are_drawn_in_place_of_unreadable_photographs(folder):
    drawn = Photographs(folder, SMALL, 4, 10, seed=0)
    before = greys(drawn)
    for path in drawn.paths[1:3]:
        path.write_bytes(b"")
    data = Photographs(folder, SMALL, 4, 10, seed=0)
    first = greys(data)
    assert (first[0], first[3]) == (before[0], before[3])
    assert len(set(first) | set(before)) == 6
    assert greys(data) == first  # the same images in the same order at every reading
    assert (data.count, data.skipped, len(data.warnings)) == (4, 2, 2)
    assert data.source == f"4 of 12 photographs in {folder}, seed 0; 2 could not be read"


def test_many_unreadable_photographs_are_counted(folder):
    for index in range(8):
        (folder / f"broken{index}.jpg").write_bytes(b"")
    data = Photographs(folder, SMALL, 100, 10, seed=0)
    assert len(greys(data)) == 12
    assert data.skipped == 8
    *named, last = data.warnings
    assert len(named) == 5
    assert all(warning.endswith(" was left out of calibration: it is empty") for warning in named)
    assert last == "3 more photographs were left out of calibration"


def test_a_folder_that_cannot_be_opened_is_told(folder, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    data = Photographs(folder, SMALL, 100, 10, seed=0)
    assert sorted(greys(data)) == [0, 1, 2, 3]
    assert data.warnings == ["the folder inner was not searched for photographs: Permission denied"]
    with pytest.raises(UserError, match=r"no photographs in it; .*inner could not be opened: Permission denied;"):
        Photographs(folder / "inner", SMALL, 100, 10, seed=0)


def test_two_thousand_photographs_need_the_memory_of_one_batch(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "0.bmp")
    for index in range(1, 2_000):
        os.link(tmp_path / "0.bmp", tmp_path / f"{index}.bmp")
    large = Preprocessing(resize=1.0).resized(None, 16, 16)
    data = Photographs(tmp_path, large, 2_000, 20, seed=0)
    alive, most = weakref.WeakSet(), 0
    for (batch,) in data.batches():
        alive.add(batch)
        most = max(most, len(alive))
        if len(alive) == 1:
            tracemalloc.start()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert data.count == 2_000
    assert most <= 2  # torch's own memory: the batch in hand, and the next
    assert peak < 400_000  # Python's: nothing is kept for each photograph


def test_photographs_cannot_fill_other_channel_counts(folder):
    with pytest.raises(UserError, match=r"photographs cannot fill 4 channels; give an \.npy array"):
        Photographs(folder, SMALL.resized(4, 16, 16), 10, 10, 0)


def test_float_arrays_are_used_as_they_are(tmp_path):
    array = np.random.default_rng(0).normal(size=(5, 3, 16, 16))
    np.save(tmp_path / "x.npy", array)
    data = Arrays(tmp_path / "x.npy", SMALL, 4, 3)
    assert data.source == f"first 4 of 5 preprocessed arrays in {tmp_path / 'x.npy'}"
    assert torch.equal(all_of(data), torch.from_numpy(array[:4].astype(np.float32)))


def test_float_arrays_are_copies_of_the_file(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3, 16, 16), np.float32))
    data = Arrays(tmp_path / "x.npy", SMALL, 2, 2)
    next(data.images())[0].zero_()  # a view of the mapped file would crash here or change it
    assert next(data.images())[0].sum().item() == 3 * 16 * 16


@pytest.mark.parametrize("size", [(16, 16), (40, 30)], ids=["right size", "other size"])
def test_uint8_arrays_are_preprocessed_as_photographs(size, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", array)
    data = Arrays(tmp_path / "x.npy", SMALL, 10, 10)
    assert data.count == 2
    assert torch.equal(first(data, 2), torch.stack([SMALL.pixels(row) for row in array]))


def test_uint8_arrays_of_many_channels_cannot_be_resized(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 40, 40, 4), np.uint8))
    with pytest.raises(UserError, match=r"cannot be resized; give them as \[N, 16, 16, 4\]"):
        Arrays(tmp_path / "x.npy", SMALL.resized(4, 16, 16), 10, 10)


def test_float_arrays_that_look_like_pixels_are_warned_of(tmp_path):
    array = np.random.default_rng(0).uniform(0, 255, (3, 3, 16, 16))
    for lowest, count in ((0.0, 1), (-1.0, 0)):
        array[1, 0, 0, 0] = lowest
        np.save(tmp_path / "x.npy", array)
        data = Arrays(tmp_path / "x.npy", SMALL, 3, 3)
        first(data, 3)
        assert len(data.warnings) == count


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4"])
def test_float_arrays_of_any_precision_become_float32(dtype, tmp_path):
    array = np.asfortranarray(np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(dtype))
    np.savez(tmp_path / "x.npz", array)
    images = first(Arrays(tmp_path / "x.npz", SMALL, 3, 3), 3)
    assert images.dtype == torch.float32
    assert torch.equal(images, torch.from_numpy(array.astype(np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_float32_has_not_are_refused(value, tmp_path):
    array = np.zeros((3, 3, 16, 16))
    array[2, 1, 5, 5] = value
    np.save(tmp_path / "x.npy", array)
    data = Arrays(tmp_path / "x.npy", SMALL, 3, 3)
    with pytest.raises(UserError, match=r"x.npy: row 2 holds values that are not finite \(NaN or infinite\)"):
        first(data, 3)


@pytest.mark.parametrize("shape", [(2, 16, 0, 3), (0, 16, 16, 3), (2, 16, 16)])
def test_arrays_without_images_are_refused(shape, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match=r"x.npy: shape .* is not \[N, 3, H, W\]"):
        Arrays(tmp_path / "x.npy", SMALL, 3, 3)


def test_pixels_with_the_channels_first_are_told_how_to_mend(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 16, 16), np.uint8))
    with pytest.raises(UserError, match=r"the network takes 3; transpose it to \[N, H, W, C\]"):
        Arrays(tmp_path / "x.npy", SMALL, 3, 3)


def test_generated_images_are_told_and_warned_of():
    data = Generated(SMALL, 4, 2, seed=3)
    assert data.source == "4 generated images (1/f noise and dead leaves, seed 3), no photographs"
    assert data.warnings == ["calibrated on generated images; photographs (--calib DIR) give better ranges"]
    assert torch.equal(first(data, 4), all_of(Generated(SMALL, 4, 2, seed=3)))
    assert not torch.equal(first(data, 4), first(Generated(SMALL, 4, 2, seed=4), 4))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_generated_images_fill_any_number_of_channels(channels):
    assert first(Generated(SMALL.resized(channels, 16, 24), 2, 2, 0), 2).shape == (2, channels, 16, 24)


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
        assert torch.equal(torch.stack([image for (image,) in data.images()]), torch.cat(given))


def test_tensors_from_python_are_used_as_float32():
    given = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    ((batch,),) = Batches([given]).batches()
    assert (batch.dtype, batch.requires_grad) == (torch.float32, False)
    assert torch.equal(batch, given.detach().float())


def test_a_lone_tensor_is_one_batch():
    data = Batches(torch.arange(6.0).view(2, 3, 1, 1))
    assert (data.count, data.batch_size) == (2, 2)
    assert [tuple(batch.shape) for (batch,) in data.batches()] == [(2, 3, 1, 1)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one tensor"),
        ([torch.zeros(0, 3, 4, 4)], "at least one tensor"),
        (["photo.jpg"], "at least one tensor"),
        ([torch.zeros(1, 3, 4, 4, dtype=torch.uint8)], "hold integers; give float32, preprocessed"),
        ([torch.full((1, 3, 4, 4), float("nan"))], "not finite"),
        ([torch.full((1, 3, 4, 4), float("inf"))], "not finite"),
    ],
    ids=["none", "empty", "no tensor", "integers", "NaN", "infinite"],
)
def test_tensors_from_python_must_hold_numbers(given, message):
    with pytest.raises(ValueError, match=message):
        Batches(given)


def test_photographs_and_generated_images_fill_several_inputs_and_clips(folder):
    two, clip = replace(SMALL, images=2), SMALL.resized(None, 16, 16, frames=4)
    for make in (lambda wanted: Photographs(folder, wanted, 3, 2, 0), lambda wanted: Generated(wanted, 3, 2, 0)):
        assert [tuple(each.shape) for each in next(make(two).batches())] == [(2, 3, 16, 16)] * 2
        ((batch,), (last,)) = make(clip).batches()
        assert (batch.shape, last.shape) == ((2, 3, 4, 16, 16), (1, 3, 4, 16, 16))
        for example, row in zip(make(clip).examples(9), make(clip).images(), strict=True):
            assert torch.equal(example[0][0], row[0])
            assert example[0].is_contiguous()
    left, right = Generated(two, 1, 1, 0).examples(1)[0]
    assert not torch.equal(left, right)  # it has moved


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_arrays_of_clips(dtype, tmp_path):
    clip = SMALL.resized(None, 16, 16, frames=4)
    shape = (2, 3, 4, 16, 16) if dtype == np.float32 else (2, 4, 20, 20, 3)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, shape).astype(dtype))
    (batch,) = next(Arrays(tmp_path / "x.npy", clip, 2, 2).batches())
    assert batch.shape == (2, 3, 4, 16, 16)


def test_arrays_of_several_inputs_are_read_row_by_row(tmp_path):
    a, b = np.random.default_rng(0).normal(size=(5, 3, 16, 16)), np.arange(10.0).reshape(5, 2)
    np.savez(tmp_path / "x.npz", b=b, a=a)
    data = NamedArrays(tmp_path / "x.npz", ("a", "b"), SMALL.shape, 4, 3)
    assert (data.count, data.shapes) == (4, [(3, 16, 16), (2,)])
    assert data.source == f"first 4 of 5 rows of a, b in {tmp_path / 'x.npz'}"
    (first_a, first_b), (last_a, last_b) = data.batches()
    assert torch.equal(torch.cat([first_a, last_a]), torch.from_numpy(a[:4].astype(np.float32)))
    assert torch.equal(torch.cat([first_b, last_b]), torch.from_numpy(b[:4].astype(np.float32)))


def test_arrays_of_an_images_shape_are_one_row(tmp_path):
    a, b = np.ones((3, 16, 16), np.float32), np.arange(2.0)
    np.savez(tmp_path / "x.npz", a, b)
    data = NamedArrays(tmp_path / "x.npz", ("a", "b"), SMALL.shape, 4, 3, None, "--example")
    ((first_a, first_b),) = data.examples(2)
    assert (data.count, first_a.shape, first_b.tolist()) == (1, (1, 3, 16, 16), [[0.0, 1.0]])


def test_tensors_of_several_inputs_come_in_tuples_or_lists():
    given = [(torch.zeros(2, 3, 4, 4), torch.ones(2, 5)), [torch.ones(1, 3, 4, 4), torch.zeros(1, 5)]]
    data = Batches(given)
    assert (data.count, data.batch_size) == (3, 2)
    assert [len(batch) for batch in data.batches()] == [2, 2]
    assert [tuple(t.shape) for t in list(data.batches(limit=1))[0]] == [(1, 3, 4, 4), (1, 5)]  # noqa: RUF015
    assert [tuple(t.shape) for t in data.examples(1)[0]] == [(1, 3, 4, 4), (1, 5)]
    with pytest.raises(ValueError, match="of one calibration batch are of different N"):
        Batches([(torch.zeros(2, 3), torch.ones(3, 3))])


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
def test_indices_and_truth_values_stay_what_they_are(dtype, tmp_path):
    image, other = torch.zeros(3, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 1]).to(dtype)
    ((images, kept),) = Batches([(image, other)]).batches()
    assert images.dtype is torch.float32 and kept.dtype is dtype and torch.equal(kept, other)
    np.savez(tmp_path / "x.npz", image=image.numpy(), other=other.numpy())
    rows = NamedArrays(tmp_path / "x.npz", ("image", "other"), SMALL.shape, 3, 3)
    ((images, kept),) = rows.batches()
    assert images.dtype is torch.float32 and kept.dtype is dtype and torch.equal(kept, other)


@pytest.mark.parametrize("shape", [(4,), (4, 7)])
def test_indices_alone_are_rows_of_them(shape, tmp_path):
    ids = torch.arange(4).reshape(4, *[1] * (len(shape) - 1)).expand(shape)
    assert torch.equal(next(Batches([ids]).batches())[0], ids)
    np.save(tmp_path / "ids.npy", ids.numpy())
    data = open_calibration(tmp_path / "ids.npy", SMALL, 3, 2, 0)
    assert [tuple(batch.shape) for (batch,) in data.batches()] == [(2, *shape[1:]), (1, *shape[1:])]
    assert data.source == f"3 of 4 rows of {tmp_path / 'ids.npy'}, seed 0"
    drawn = torch.cat([batch for (batch,) in data.batches()])
    assert torch.equal(drawn, ids[data.places]) and sorted({*data.places, *data.others(4).places}) == [0, 1, 2, 3]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_rows_are_drawn_with_the_seed_as_photographs_are(order, suffix, tmp_path, monkeypatch):
    array = np.asarray(np.arange(40 * 3, dtype=np.float32).reshape(40, 3, 1, 1) * np.ones((1, 1, 16, 16)), order=order)
    path = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez_compressed)(path, array)
    data, again, other = (open_calibration(path, SMALL, 10, 4, seed) for seed in (3, 3, 4))
    rows = [values for (values,) in data.images()]
    assert all(
        torch.equal(row, torch.from_numpy(array[place]).float()) for row, place in zip(rows, data.places, strict=True)
    )
    assert data.places == again.places != other.places
    assert data.places != sorted(data.places) and len(set(data.places)) == 10
    rest = data.others(12)
    assert not set(rest.places) & set(data.places) and rest.places == data.others(20).places[:12]
    assert [float(values.max()) for (values,) in rest.images_from(5)] == [
        array[place].max() for place in rest.places[5:]
    ]
    monkeypatch.setattr("fxconv.data.arrays._GATHERED", 3 * 16 * 16 * 8 * 4)  # a few rows at a time
    assert all(torch.equal(row, values) for row, (values,) in zip(rows, data.images(), strict=True))


@pytest.mark.parametrize(
    "given",
    [torch.zeros(1, 3, 4, 4).long(), torch.zeros(1, 4, 4).int(), (torch.zeros(1, 3, 4, 4), torch.zeros(1).byte())],
)
def test_images_of_integers_are_refused(given):
    with pytest.raises(ValueError, match="hold integers; give float32, preprocessed"):
        Batches([given])
