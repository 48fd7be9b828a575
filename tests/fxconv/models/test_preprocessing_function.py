"""A function of the user's preprocesses: held by name and digest, tried before anything depends on it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from fxconv.errors import UserError
from fxconv.models.preprocessing import Origin
from fxconv.models.preprocessing_function import from_function, from_spec

WRITTEN = """
from torchvision import transforms as T

transform = T.Compose([T.Resize((24, 32)), T.ToTensor(), T.Normalize(0.5, 0.25)])


def bgr(image):
    return transform(image)[[2, 1, 0]]


number = 3
"""


def grey(height: int = 50, width: int = 40) -> Image.Image:
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def test_what_it_makes_is_what_the_model_takes(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(WRITTEN)
    how = from_spec(f"{file}:bgr")
    assert (how.name, how.origin, how.shape) == ("own.py:bgr", Origin.user, (3, 24, 32))
    assert how.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    transform = T.Compose([T.Resize((24, 32)), T.ToTensor(), T.Normalize(0.5, 0.25)])
    image = grey()
    expected = transform(image)[[2, 1, 0]]
    assert torch.equal(how.photograph(image), expected)
    assert torch.equal(how.inputs(image, 5)[0], expected)
    assert torch.equal(how.pixels(np.array(image)), expected)
    assert how.in_words == f"3x24x32 from own.py:bgr (SHA-256 {how.digest[:12]})"
    assert torch.equal(from_spec(f"{file}:transform").photograph(image), transform(image))


def test_one_of_python_is_held_by_its_name():
    how = from_function(T.Compose([T.Resize((8, 8)), T.ToTensor()]))
    assert (how.name, how.digest) == ("torchvision.transforms.transforms:Compose", "")
    numpys = from_function(lambda image: np.asarray(image.resize((8, 8)), np.float32).transpose(2, 0, 1), "numpy's")
    assert numpys.shape == (3, 8, 8)


def failing(image):
    raise ValueError("no such thing")


MISTAKES = {
    "fails": (failing, "failed with ValueError: no such thing; it is called with an image of pillow's (RGB, 240x320)"),
    "an image": (
        lambda image: image,
        "made something of type Image of an image; give a float tensor [C, H, W], with",
    ),
    "whole numbers": (T.PILToTensor(), "made uint8 [3, 240, 320] of an image; give float32 [C, H, W]"),
    "a batch": (lambda image: T.ToTensor()(image)[None], "made float32 [1, 3, 240, 320] of an image; leave the batch"),
    "not finite": (lambda image: T.ToTensor()(image) / 0, "made values that are not finite"),
    "random": (
        lambda image: T.ToTensor()(image) * torch.rand(()),
        "makes another tensor of the same image each time; give the transforms of an evaluation",
    ),
}


@pytest.mark.parametrize(("function", "line"), MISTAKES.values(), ids=MISTAKES)
def test_one_that_does_not_do_is_told_in_one_line(function, line):
    with pytest.raises(UserError) as error:
        from_function(function, "own.py:f")
    assert str(error.value).startswith("--preprocess own.py:f: ")
    assert line in str(error.value)


def test_one_that_cannot_be_called_or_found(tmp_path):
    (tmp_path / "own.py").write_text(WRITTEN)
    with pytest.raises(UserError, match="is of type int, which cannot be called with an image"):
        from_spec(f"{tmp_path}/own.py:number")
    with pytest.raises(UserError, match="has no 'transfrom'; did you mean transform"):
        from_spec(f"{tmp_path}/own.py:transfrom")


def test_images_of_several_sizes_are_told():
    how = from_function(T.ToTensor(), "own.py:f")
    with pytest.raises(UserError, match="made 3x50x40 of an image of 50x40, and 3x240x320 of the first"):
        how.photograph(grey())
