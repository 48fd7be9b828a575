"""How photographs become what a file takes: said by the file, or by the user, and never by both."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fxconv.analysis.file_preprocessing import file_input
from fxconv.errors import UserError
from fxconv.models.preprocessing import Preprocessing
from fxconv.targets.mobile.lowering import to_bytes
from fxconv.targets.proof import metadata

INPUT = {"name": "x", "shape": [1, 3, 32, 32], "dtype": "float32", "layout": "NCHW"}
SAID = {
    "channels": "RGB",
    "source": "as told",
    "origin": "weights",
    "resize_to_cover": [40, 40],
    "crop": [32, 32],
    "interpolation": "bilinear",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "in_graph": False,
}
OWN = "import torch\ndef own(image):\n    return torch.full((3, {0}, {0}), float(image.getpixel((0, 0))[0]) + {1})\n"


@pytest.fixture(scope="module")
def relu():
    return torch.jit.script(nn.ReLU())


@pytest.fixture
def file(tmp_path, relu):
    def made(preprocessing, *inputs):
        says = {"schema": 1, "inputs": list(inputs or [INPUT]), "preprocessing": preprocessing}
        path = tmp_path / "x.ptl"
        path.write_bytes(to_bytes(relu, {metadata.FILE: json.dumps(says)}))
        return path, metadata.metadata_in(path)

    return made


def refused(found, **pixels):
    path, told = found
    with pytest.raises(UserError) as error:
        file_input(path, told, pixels)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(path), "x.ptl")


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_as_the_file_says(file, image):
    found = file_input(*file(SAID))
    how = found.preprocessing
    assert how.covered == (40, 40) and how.mean == (0.5,) * 3 and how.std == (0.25,) * 3 and not found.is_pixels
    assert torch.equal(found.tensor(image), how.fitted(image)[None])


def test_pixels_where_it_takes_uint8(file, image):
    """The model normalizes: what the file takes are the photograph's own pixels, resized and cropped."""
    taken = file_input(*file({**SAID, "in_graph": True}, {**INPUT, "dtype": "uint8"})).tensor(image)
    assert taken.dtype == torch.uint8 and taken.shape == (1, 3, 32, 32)
    plain = Preprocessing(32, 32, resize=1.25, mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0)
    assert torch.equal(taken.float()[0], plain.fitted(image))


def test_what_the_file_says_is_not_said_again(file):
    line = (
        "x.ptl: says how: resized to cover 40x40, cropped to 32x32, bilinear, from 0 to 1, less 0.5, over 0.25; leave "
    )
    assert refused(file(SAID), mean="0.5") == f"{line}--mean out"
    assert refused(file(SAID), preprocess="unit", crop="none") == f"{line}--preprocess unit out"
    assert refused(file(SAID), preprocess="own.py:own") == f"{line}--preprocess own.py:own out"


def test_where_it_says_nothing_the_user_does(file, image, tmp_path):
    line = (
        "x.ptl: does not say how photographs become what it takes; give --preprocess torchvision, timm, unit, raw or "
    )
    assert refused(file(None)) == (
        f"{line}FILE.py:FUNCTION, or --mean and --std, with --resize and --crop as the model was trained"
    )
    assert refused(file(None), resize="40").startswith(line)  # nor does that say what becomes of the numbers
    found = file_input(*file(None), {"preprocess": "unit", "crop": "none"}).preprocessing
    assert (found.stretched, found.mean, found.std) == ((32, 32), (0.0,) * 3, (1.0,) * 3)
    assert refused(file(None), preprocess="unit", crop="24") == (
        "x.ptl: takes 3x32x32, and not 3x24x24; leave --crop out, or set --resize to its size"
    )
    (tmp_path / "own.py").write_text(OWN.format(32, 0))
    taken = file_input(*file(None), {"preprocess": f"{tmp_path}/own.py:own"}).tensor(image)
    assert taken.shape == (1, 3, 32, 32) and taken.unique().tolist() == [image.getpixel((0, 0))[0]]


def test_a_function_is_named_again(file, image, tmp_path):
    (tmp_path / "own.py").write_text(OWN.format(32, 0))
    said = {"function": {"name": "own.py:own", "sha256": None}, "crop": [32, 32], "in_graph": False}
    line = "x.ptl: its images were preprocessed by a function, own.py:own; give --preprocess own.py:own"
    for pixels in ({}, {"preprocess": "unit"}, {"mean": "0.5"}):
        assert refused(file(said), **pixels) == line
    spec = f"{tmp_path}/own.py:own"
    assert file_input(*file(said), {"preprocess": spec}).tensor(image).shape == (1, 3, 32, 32)
    other = {**said, "function": {"name": "own.py:own", "sha256": "0" * 64}}
    assert "is not what x.ptl was made with (own.py:own, SHA-256 000000000000" in refused(file(other), preprocess=spec)
    (tmp_path / "small.py").write_text(OWN.format(16, 0))
    assert refused(file(said), preprocess=f"{tmp_path}/small.py:own") == (
        "--preprocess small.py:own: makes 3x16x16 of an image, and x.ptl takes 3x32x32"
    )


def test_a_function_for_pixels_makes_whole_numbers(file, image, tmp_path):
    pixels = {**INPUT, "dtype": "uint8"}
    (tmp_path / "own.py").write_text(OWN.format(32, 0))
    taken = file_input(*file(None, pixels), {"preprocess": f"{tmp_path}/own.py:own"}).tensor(image)
    assert taken.dtype == torch.uint8
    (tmp_path / "half.py").write_text(OWN.format(32, 0.5))
    found = file_input(*file(None, pixels), {"preprocess": f"{tmp_path}/half.py:own"})
    with pytest.raises(UserError, match=r"half\.py:own: makes other values than whole ones from 0 to 255"):
        found.tensor(image)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (
            [INPUT, INPUT],
            "x.ptl: takes 2 inputs (float32 [1, 3, 32, 32] and float32 [1, 3, 32, 32]), and predict gives",
        ),
        ([{**INPUT, "shape": [1, 3, 4, 32, 32]}], "x.ptl: takes clips (float32 [1, 3, 4, 32, 32]), and predict gives"),
        ([{**INPUT, "shape": [8, 3, 32, 32]}], "x.ptl: takes float32 [8, 3, 32, 32], and predict gives it one image"),
        ([{**INPUT, "dtype": "int64"}], "x.ptl: takes int64 [1, 3, 32, 32], and predict gives it one image [1, C, H"),
        ([{**INPUT, "shape": [1, 4, 32, 32]}], "x.ptl: takes 4 channels, which photographs cannot fill"),
        ([{**INPUT, "shape": [1, 3, 0, 32]}], "says of the inputs is damaged; convert the model anew"),
    ],
)
def test_what_is_no_single_photograph_is_refused(file, inputs, words):
    assert words in refused(file(SAID, *inputs))


def test_a_file_without_a_word_is_refused_with_what_to_do(tmp_path, relu):
    path = tmp_path / "x.ptl"
    path.write_bytes(to_bytes(relu))
    assert refused((path, {})) == (
        "x.ptl: does not say what it takes, as the files of fxconv convert do; fxconv bench --example FILE.npy runs it "
        "on arrays, fxconv verify --against MODEL on photographs beside its model"
    )


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("all", id="no object"),
        pytest.param({**SAID, "crop": [16, 16]}, id="another size than the input"),
        pytest.param({**SAID, "resize_to_cover": [1 << 30, 1 << 30]}, id="more than the memory holds"),
        pytest.param({**SAID, "resize_to_cover": [0, 40]}, id="no pixels"),
        pytest.param({**SAID, "resize_to_cover": [float("inf"), 40]}, id="no end of pixels"),
        pytest.param({**SAID, "std": [0.25, 0.25, 0.0]}, id="over nothing"),
        pytest.param({**SAID, "mean": [0.5, 0.5, float("nan")]}, id="no number"),
        pytest.param({**SAID, "mean": [0.5], "std": [0.5]}, id="another number of channels"),
    ],
)
def test_damaged(file, said):
    assert refused(file(said)) == "x.ptl: what its fxconv.json says of preprocessing is damaged"
