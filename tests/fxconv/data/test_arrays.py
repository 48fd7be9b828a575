"""Arrays are read row by row from .npy and .npz files, whatever they hold and however they are stored."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from fxconv.data.arrays import open_array, open_arrays, split_name
from fxconv.errors import UserError

ARRAY = np.arange(40 * 3 * 4 * 5, dtype=np.float32).reshape(40, 3, 4, 5)


def stored(path: Path, array: np.ndarray, kind: str) -> Path:
    """`array` in a file of that kind under `path`; the name to give to fxconv."""
    if kind == ".npy":
        np.save(path / "x.npy", array)
        return path / "x.npy"
    (np.savez_compressed if kind == "compressed" else np.savez)(path / "x.npz", images=array)
    return path / "x.npz"


@pytest.mark.parametrize("kind", [".npy", ".npz", "compressed"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", ">f8", "u1"])
@pytest.mark.parametrize("count", [1, 20, 40])
def test_rows_are_those_numpy_loads(kind, order, dtype, count, tmp_path):
    array = np.asarray(ARRAY.astype(dtype), order=order)
    found = open_array(stored(tmp_path, array, kind), "--calib")
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    rows = list(found.rows(count))
    assert len(rows) == count
    assert all(np.array_equal(row, expected) for row, expected in zip(rows, array, strict=False))


def test_columns_longer_than_a_block_are_read_too(tmp_path, monkeypatch):
    monkeypatch.setattr("fxconv.data.arrays._BLOCK", 7)
    found = open_array(stored(tmp_path, np.asfortranarray(ARRAY), ".npz"), "--calib")
    assert all(np.array_equal(row, expected) for row, expected in zip(found.rows(40), ARRAY, strict=True))


@pytest.fixture
def several(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, train=ARRAY, labels=np.arange(40), test=ARRAY[:2])
    return path


def test_one_of_several_arrays_is_named(several):
    found = open_array(Path(f"{several}:test"), "--calib")
    assert (found.shape, found.name) == ((2, 3, 4, 5), f"{several}:test")
    assert np.array_equal(next(found.rows(1)), ARRAY[0])


def test_arrays_that_are_no_images_are_not_asked_about(tmp_path):
    np.savez(tmp_path / "x.npz", labels=np.arange(40), ids=np.zeros((1, 2, 3, 4), np.int64), images=ARRAY)
    assert open_array(tmp_path / "x.npz", "--calib").member == "images"


def test_several_arrays_are_listed(several):
    with pytest.raises(UserError) as error:
        open_array(several, "--calib")
    assert str(error.value) == (
        f"--calib {several}: holds several arrays (train float32 (40, 3, 4, 5), labels int64 (40,), test float32 "
        "(2, 3, 4, 5)); name one: x.npz:train"
    )
    with pytest.raises(UserError, match=r"x.npz: has no array 'images'; it has train, labels, test$"):
        open_array(Path(f"{several}:images"), "--calib")


def test_a_colon_in_a_name_may_be_part_of_it(tmp_path):
    odd = tmp_path / "a.npz:b.npz"
    assert split_name(odd) == (tmp_path / "a.npz", "b.npz")
    np.savez(odd, images=ARRAY)
    assert split_name(odd) == (odd, None)
    assert split_name(tmp_path / "X.NPZ:y.npy") == (tmp_path / "X.NPZ", "y")
    assert split_name(tmp_path / "x.npy:y") == (tmp_path / "x.npy:y", None)


class Planted:
    """An object that leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", [".npy", ".npz"])
def test_object_arrays_are_refused_and_nothing_is_unpickled(kind, tmp_path):
    path = stored(tmp_path, np.array([Planted(tmp_path / "was run")] * 2, dtype=object), kind)
    with pytest.raises(UserError, match="holds Python objects, which are not unpickled; save an array of numbers"):
        open_array(path, "--calib")
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("dtype", ["i8", "u2", "?", "c8", "U3", "S3", "M8[s]"])
def test_other_types_are_refused(dtype, tmp_path):
    path = stored(tmp_path, np.zeros((2, 3, 4, 5), dtype), ".npy")
    with pytest.raises(UserError) as error:
        open_array(path, "--calib")
    assert str(error.value) == (
        f"--calib {path}: values of type {np.dtype(dtype)}; expected float32 (preprocessed) or uint8 (pixels)"
    )


def test_structures_are_refused(tmp_path):
    path = stored(tmp_path, np.zeros(2, [("image", "f4", (3, 4, 5)), ("größe", "i8")]), ".npy")
    with pytest.raises(UserError, match=r"values of type structures|format version 3.0"):
        open_array(path, "--calib")


def _cut_off(path: Path) -> None:
    np.save(path, ARRAY)
    path.write_bytes(path.read_bytes()[:500])


def _negative(path: Path) -> None:
    np.save(path, ARRAY)
    path.write_bytes(path.read_bytes().replace(b"(40, 3, 4, 5)", b"(-4, 3, 4, 5)"))


def _zip_of_text(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.txt", "hello")


def _damaged_zip(path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, images=ARRAY)
    content = bytearray(path.read_bytes())
    content[60:300] = b"\xff" * 240
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "write", "expected"),
    [
        ("x.npy", lambda path: None, "no such file"),
        ("x.npy", Path.mkdir, "not a file"),
        ("x.npy", lambda path: path.write_bytes(b""), "not a readable array (its content is not what np.save writes)"),
        (
            "x.npy",
            lambda path: path.write_text("hello world"),
            "not a readable array (its content is not what np.save writes)",
        ),
        ("x.npy", _cut_off, "not a readable array (cut off: 500 bytes of 9,728)"),
        ("x.npy", _negative, "not a readable array (shape (-4, 3, 4, 5))"),
        ("x.npz", lambda path: path.write_bytes(b"PK\x03\x04"), "not a readable array (File is not a zip file)"),
        ("x.npz", _zip_of_text, "a zip archive without arrays"),
        ("x.npz", _damaged_zip, "not a readable array ("),
        ("x.txt", lambda path: None, "expected a folder of photographs, an .npy or an .npz file, not .txt"),
        ("x", lambda path: None, "expected a folder of photographs, an .npy or an .npz file, not this"),
    ],
    ids=[
        *("missing", "folder", "empty", "text", "cut off", "negative shape", "cut-off zip", "zip of text"),
        *("damaged zip", "another suffix", "no suffix"),
    ],
)
def test_files_that_hold_no_array(name, write, expected, tmp_path):
    path = tmp_path / name
    write(path)
    with pytest.raises(UserError) as error:
        list(open_array(path, "--calib").rows(40))
    message = str(error.value)
    assert message.startswith(f"--calib {path}")
    assert expected in message
    assert "\n" not in message


def test_a_nameless_array_has_no_name(tmp_path):
    path = tmp_path / "x.npz"
    with path.open("wb") as file:
        np.save(file, ARRAY)
    assert open_array(path, "--calib").shape == ARRAY.shape  # the content decides, not the suffix
    with pytest.raises(UserError, match=r"x.npz:y: x.npz holds one array without a name; leave out :y"):
        open_array(Path(f"{path}:y"), "--calib")


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_that_shrinks_while_it_is_read_is_one_line(order, tmp_path):
    path = stored(tmp_path, np.asarray(np.tile(ARRAY, (200, 1, 1, 1)), order=order), ".npy")
    found = open_array(path, "--calib")
    with path.open("rb+") as file:
        file.truncate(1000)
    with pytest.raises(UserError, match=r"x.npy: not a readable array \(cut off: it has become shorter since"):
        list(found.rows(8000))


def test_arrays_of_several_inputs_are_found_by_name_or_in_order(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, right=np.zeros((2, 3)), left=np.zeros((2, 4), np.float32))
    assert [array.member for array in open_arrays(path, ("left", "right"), "--example")] == ["left", "right"]
    assert [array.member for array in open_arrays(path, ("a", "b"), "--example")] == ["right", "left"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("left",), r"holds right, left and the model takes 1 inputs \(left\)"),
        (("left", "middle"), r"holds right, left and .*; save them with np.savez\('x.npz', left=..., middle=...\)$"),
        (("a", "b", "c"), r"holds right, left and the model takes 3 inputs \(a, b, c\)"),
    ],
)
def test_arrays_that_are_not_the_inputs_are_told_with_the_cure(names, message, tmp_path):
    np.savez(tmp_path / "x.npz", right=np.zeros((2, 3)), left=np.zeros((2, 4)))
    with pytest.raises(UserError, match=message):
        open_arrays(tmp_path / "x.npz", names, "--example")


def test_one_array_is_not_several_inputs(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    with pytest.raises(UserError, match=r"is one array and the model takes 2 inputs \(a, b\); save them with np.savez"):
        open_arrays(tmp_path / "x.npy", ("a", "b"), "--calib")
