"""Images to judge by: others than those of calibration, wherever there are some."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fxconv.data.calibration import Batches
from fxconv.data.calibration_arrays import Arrays, NamedArrays
from fxconv.data.calibration_generated import Generated
from fxconv.data.calibration_photographs import Photographs
from fxconv.data.held_out import held_out, unused
from fxconv.models.preprocessing import Preprocessing

SMALL = Preprocessing(16, 16, mean=(0.0,) * 3, std=(1.0,) * 3, resize=1.0)


def greys(data) -> set[int]:
    """The grey of each image, 0 to 255: the tests' photographs are of one colour each."""
    return {round(float(values.mean()) * 255) for (values,) in data.images()}


@pytest.fixture
def folder(tmp_path):
    for grey in range(20):
        Image.new("RGB", (16, 16), (grey, grey, grey)).save(tmp_path / f"{grey:02}.png")
    return tmp_path


def test_photographs_that_were_not_drawn(folder):
    data = Photographs(folder, SMALL, 8, 4, seed=0)
    judged = held_out(data, 10)
    assert judged.is_unseen
    assert judged.warning == ""
    assert judged.data.count == 10
    assert judged.data.source == f"10 of 20 photographs in {folder}, seed 0"
    assert greys(data).isdisjoint(greys(judged.data))


def test_a_photograph_that_cannot_be_read_is_not_replaced_by_one_held_out(folder):
    data = Photographs(folder, SMALL, 8, 4, seed=0)
    for path in data.paths[:3]:
        path.write_bytes(b"broken")
    judged = held_out(data, 10)
    calibrated, others = greys(data), greys(judged.data)
    assert (len(calibrated), len(others)) == (7, 10)  # two spares were left for three
    assert calibrated.isdisjoint(others)


def test_the_same_photographs_whenever_asked(folder):
    data = Photographs(folder, SMALL, 8, 4, seed=0)
    few, many = held_out(data, 8).data, held_out(data, 10).data
    assert [path.name for path in few.paths] == [path.name for path in many.paths][:8]
    assert greys(few) <= greys(many)


def test_calibration_is_the_same_whether_images_are_held_out_or_not(folder):
    plain, other = (Photographs(folder, SMALL, 8, 4, seed=0) for _ in range(2))
    other.paths[2].write_bytes(b"broken")
    held_out(other, 6)
    assert [path.name for path in plain.paths] == [path.name for path in other.paths]
    assert greys(plain) == greys(other)


def test_all_photographs_used_up_means_generated_images_and_a_warning(folder):
    judged = held_out(Photographs(folder, SMALL, 15, 4, seed=5), 10)
    assert isinstance(judged.data, Generated)
    assert (judged.data.seed, judged.data.count) == (6, 10)
    assert judged.is_unseen
    assert "generated images serve to judge by; lower --calib-count" in judged.warning


def test_the_rows_behind_those_of_calibration(tmp_path):
    array = np.arange(20, dtype=np.float32).reshape(20, 1, 1, 1) * np.ones((1, 3, 16, 16), np.float32)
    np.save(tmp_path / "x.npy", array)
    data = Arrays(tmp_path / "x.npy", SMALL, 5, 4)
    judged = held_out(data, 10)
    assert [float(values[0, 0, 0]) for (values,) in judged.data.images()] == list(range(5, 15))
    assert judged.data.source == f"10 other rows of {tmp_path / 'x.npy'}"
    assert [float(values[0, 0, 0]) for (values,) in data.images()] == list(range(5))


def test_the_rows_behind_those_of_several_inputs(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.arange(6.0).reshape(6, 1), b=np.arange(12.0).reshape(6, 2))
    data = NamedArrays(tmp_path / "x.npz", ("a", "b"), (3, 16, 16), 4, 2)
    judged = held_out(data, 10)
    assert [(float(a), b.tolist()) for a, b in judged.data.images()] == [(4.0, [8.0, 9.0]), (5.0, [10.0, 11.0])]
    assert judged.is_unseen


def test_photographs_left_out_of_judging_are_named(folder):
    data = Photographs(folder, SMALL, 8, 4, seed=0)
    judged = held_out(data, 10)
    judged.data.paths[1].write_bytes(b"broken")
    name = judged.data.paths[1].name
    assert len(greys(judged.data)) == 9
    assert [warning.partition(":")[0] for warning in judged.warnings] == [f"{name} was left out of judging"]
    assert data.warnings == []


def test_generated_images_are_of_another_seed():
    data = Generated(SMALL, 4, 2, seed=3)
    judged = held_out(data, 4)
    assert judged.data.seed == 4
    assert "judged on generated images" in judged.warning
    assert not any(torch.equal(a, b) for (a,), (b,) in zip(data.images(), judged.data.images(), strict=True))


def test_tensors_from_python_serve_for_both_and_the_warning_says_so():
    data = Batches([torch.zeros(2, 3, 4, 4)])
    judged = held_out(data, 4)
    assert judged.data is data
    assert not judged.is_unseen
    assert "judged on what it was calibrated on" in judged.warning


def test_what_is_given_is_taken():
    judged = held_out(Batches([torch.zeros(2, 3, 4, 4)]), 4, [torch.ones(3, 3, 4, 4)])
    assert (judged.data.count, judged.is_unseen, judged.warning) == (3, True, "")


# -- images that nothing was done with ------------------------------------------------------------------------


def seen(found) -> set[int]:
    return {round(float(values.mean()) * 255) for (values,) in found.images}


def test_what_is_behind_those_that_something_was_chosen_by(folder):
    data = Photographs(folder, SMALL, 8, 4, seed=0)
    first = greys(held_out(data, 4).data)
    found = unused(data, 4, 100, 2)
    assert len(found.images) == 8 and all(len(values) == 1 for (values,) in found.images)
    assert seen(found).isdisjoint(first | greys(data)) and found.problem == ""
    assert found.source.startswith("the last 8 of 12 of 20 photographs")


def test_at_most_so_many_and_none_where_they_are_few(folder):
    data = Photographs(folder, SMALL, 8, 4, seed=0)
    assert len(unused(data, 0, 5, 2).images) == 5
    few = unused(data, 4, 100, 9)
    assert few.images == () and few.problem.startswith("8 images of 9 are left that nothing was chosen by")
    assert unused(Batches([torch.ones(9, 3, 4, 4)]), 0, 5, 1).problem.startswith("no image is left")


def test_generated_images_behind_the_first():
    data = Generated(SMALL, 4, 2, seed=0)
    found = unused(data, 3, 5, 1)
    (all_others,) = (data.others(8),)
    wanted = list(all_others.images())[3:]
    assert len(found.images) == 5
    assert all(torch.equal(a[0], b) for (a,), (b,) in zip(found.images, wanted, strict=True))


def test_what_was_trained_on_is_not_among_them(folder):
    data = Photographs(folder, SMALL, 8, 4, seed=0)
    lesson = Photographs(folder, SMALL, 16, 4, seed=3)
    found = unused(data, 0, 100, 1, lesson)
    assert found.images and seen(found).isdisjoint(greys(data) | greys(lesson))
    told = unused(Generated(SMALL, 4, 2, seed=0), 0, 5, 1, Generated(SMALL, 4, 2, seed=1))
    assert told.problem == "what it was trained on may be among what is left of the calibration data"


def test_those_that_are_given_serve():
    data = Batches([torch.ones(9, 3, 4, 4)])
    assert len(unused(data, 5, 100, 2, given=Batches([torch.ones(7, 3, 4, 4)])).images) == 7
