"""Images drawn at random and saved as the array that --example and --calib take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fxconv_commands import NETWORKS, SMALL, assert_user_error
from PIL import Image
from torch import Tensor, nn

from fxconv.data.calibration_arrays import Arrays
from fxconv.data.calibration_photographs import Photographs
from fxconv.data.example_array import write_example
from fxconv.data.synthetic import natural_images
from fxconv.errors import UserError
from fxconv.models.loading import LoadedModel
from fxconv.models.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for index, pixels in enumerate(natural_images(6, 40, 56)):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_what_is_saved_is_what_a_conversion_reads_of_the_folder(photographs, tmp_path):
    written = write_example(photographs, tmp_path / "x.npy", 4, seed=3, input_size="32")
    saved, how = np.load(tmp_path / "x.npy"), Preprocessing(32, 32)
    drawn = np.stack([image.numpy() for (image,) in Photographs(photographs, how, 4, 1, 3).images()])
    assert saved.dtype == np.float32
    assert np.array_equal(saved, drawn)
    assert np.array_equal(saved, np.stack([row.numpy() for (row,) in Arrays(tmp_path / "x.npy", how, 4, 1).images()]))
    assert written.shapes == {"x": (4, 3, 32, 32)}
    assert written.warnings == ()


def test_another_seed_draws_others(photographs, tmp_path):
    for seed in (0, 1):
        write_example(photographs, tmp_path / f"{seed}.npy", 1, seed, input_size="32")
    assert not np.array_equal(np.load(tmp_path / "0.npy"), np.load(tmp_path / "1.npy"))


def test_a_model_says_how_to_preprocess(photographs, tmp_path):
    written = write_example(photographs, tmp_path / "x.npy", model="detector:resnet18", input_size="64x96")
    assert np.load(tmp_path / "x.npy").shape == (1, 3, 64, 96)
    assert written.preprocessing.covered == (64, 96)


def test_a_model_of_several_inputs_gets_an_array_for_each(photographs, tmp_path):
    model = f"{NETWORKS}:two_inputs"
    write_example(photographs, tmp_path / "x.npz", 2, model=model, input_size="32")
    with np.load(tmp_path / "x.npz") as saved:
        assert {name: saved[name].shape for name in saved.files} == {"left": (2, 3, 32, 32), "right": (2, 3, 32, 32)}


def test_fewer_photographs_than_asked_for(photographs, tmp_path):
    written = write_example(photographs, tmp_path / "x.npy", 9, input_size="32")
    assert written.warnings == ("6 images were written, 9 were asked for",)
    assert np.load(tmp_path / "x.npy").shape[0] == 6


def test_by_hand_and_into_a_conversion(command, photographs):
    drawn = command("example", str(photographs), "-n", "5", "--seed", "1", "--input-size", "32", "-o", "x.npy")
    assert drawn.status == 0
    first, second, third = drawn.stdout.splitlines()
    assert first == "x.npy: float32 x 5x3x32x32"
    assert second == f"5 of 6 photographs in {photographs}, seed 1"
    assert third == (
        "resized to cover 37x37, cropped to 32x32, bilinear, from 0 to 1, less 0.485, 0.456, 0.406, over 0.229, 0.224, "
        "0.225 (assumed: ImageNet mean and deviation)"
    )
    converted = command("convert", *SMALL, "--calib", "x.npy", "--example", "x.npy", "-o", "tiny.ptl", "--quiet")
    assert converted.status == 0
    assert "5 of 5 preprocessed arrays in x.npy, seed 0" in converted.stdout


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (("nowhere",), ("DIR nowhere: no such folder",)),
        ((str(NETWORKS),), (f"DIR {NETWORKS}: not a folder",)),
        ((".",), ("DIR .: no photographs in it; expected files of these kinds",)),
        ((".", "-o", "x.jpg"), ("-o x.jpg: expected a name that ends in .npy",)),
        ((".", "--model", "mobilenet_v9"), ("unknown model 'mobilenet_v9'",)),
        ((".", "--model", f"{NETWORKS}:two_inputs"), ("ends in .npz: the model takes 2 inputs (left, right)",)),
        ((".", "--input-size", "5x32x32"), ("no photographs in it",)),
    ],
)
def test_mistakes(command, words, fragments):
    assert_user_error(command("example", *words), *fragments)


class ImageAndIndex(nn.Module):
    """Takes an index beside an image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.kinds = nn.Conv2d(3, 4, 1), nn.Embedding(5, 4)

    def forward(self, x: Tensor, kind: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3)) + self.kinds(kind)


def test_a_model_that_takes_more_than_images(photographs, tmp_path, monkeypatch):
    loaded = LoadedModel("both", ImageAndIndex().eval(), Preprocessing(32, 32, images=2), "random", True)
    monkeypatch.setattr("fxconv.data.example_array.loading.load", lambda *_, **__: loaded)
    with pytest.raises(UserError, match="both cannot take an input of 3x32x32 and 3x32x32"):
        write_example(photographs, tmp_path / "x.npz", 2, model="both")
    assert not (tmp_path / "x.npz").exists()


def test_more_than_the_memory_should_hold(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr("fxconv.data.example_array._MOST_BYTES", 3 * 4 * 32 * 32 * 5)
    with pytest.raises(Exception, match="ask for 5 images at most"):
        write_example(photographs, tmp_path / "x.npy", 6, input_size="32")
    assert not (tmp_path / "x.npy").exists()
