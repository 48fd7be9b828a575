"""What the user says of preprocessing goes before what is known of the weights, and each part does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as T
from torchvision.models import get_model_weights
from torchvision.transforms import InterpolationMode

from fxconv.config import Config
from fxconv.errors import UserError
from fxconv.models import loading
from fxconv.models.preprocessing import Origin, Preprocessing
from fxconv.models.preprocessing_choice import chosen, of_module

KNOWN = Preprocessing().resized(None, 32, 32)
IMAGENET = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def photograph(height: int = 60, width: int = 90) -> Image.Image:
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([x * 255 / width, y * 255 / height, np.where(x > y, 220, 30)], axis=2)
    return Image.fromarray(np.clip(base + rng.normal(0, 20, base.shape), 0, 255).astype(np.uint8))


def composed(*steps, resize=37, crop=32, how=InterpolationMode.BILINEAR):
    cropped = [T.CenterCrop(crop)] if crop is not None else []
    return T.Compose([T.Resize(resize, how), *cropped, T.PILToTensor(), T.ConvertImageDtype(torch.float32), *steps])


CASES = {
    "nothing": ({}, composed(IMAGENET)),
    "torchvision": ({"preprocess": "torchvision"}, composed(IMAGENET)),
    "timm": ({"preprocess": "timm"}, composed(IMAGENET, how=InterpolationMode.BICUBIC)),
    "unit": ({"preprocess": "unit"}, composed()),
    "mean and std": ({"mean": "0.5", "std": "0.5,0.25,1"}, composed(T.Normalize((0.5,) * 3, (0.5, 0.25, 1.0)))),
    "unit, less a mean": ({"preprocess": "unit", "mean": "0.5"}, composed(T.Normalize((0.5,) * 3, (1.0,) * 3))),
    "resize": ({"resize": "48"}, composed(IMAGENET, resize=48)),
    "crop": ({"resize": "48", "crop": "40"}, composed(IMAGENET, resize=48, crop=40)),
    "no crop": ({"crop": "none"}, composed(IMAGENET, resize=(32, 32), crop=None)),
    "no crop, of a size": ({"crop": "none", "resize": "40x48"}, composed(IMAGENET, resize=(40, 48), crop=None)),
    "exact": ({"resize": "40x48"}, composed(IMAGENET, resize=(40, 48))),
    "interpolation": ({"interpolation": "nearest"}, composed(IMAGENET, how=InterpolationMode.NEAREST)),
}


@pytest.mark.parametrize(("given", "theirs"), CASES.values(), ids=CASES)
def test_each_part_is_what_torchvisions_transforms_do(given, theirs):
    image = photograph()
    how = chosen(KNOWN, Config(**given))
    assert torch.equal(how.photograph(image), theirs(image))
    assert how.shape == tuple(theirs(image).shape)


def test_raw_values_are_those_of_the_file():
    image, how = photograph(32, 32), chosen(KNOWN, Config(preprocess="raw", crop="none"))
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    assert torch.equal(how.photograph(image), values)
    less = chosen(KNOWN, Config(preprocess="raw", mean="100", std="50", crop="none"))
    assert torch.equal(less.photograph(image), (values - 100) / 50)
    assert less.unit_scaled == ((pytest.approx(100 / 255),) * 3, (pytest.approx(50 / 255),) * 3)


def test_who_says_so_is_kept():
    weights = get_model_weights("mobilenet_v2").DEFAULT
    published = Preprocessing.from_preset(weights.transforms(), str(weights))
    assert published.origin is Origin.weights
    assert chosen(published, Config()) is published
    assert chosen(published, Config(preprocess="torchvision")).mean == published.mean
    asked = chosen(published, Config(mean="0.5"))
    assert (asked.origin, asked.source) == (Origin.user, f"transforms of {weights}, with mean 0.5")
    assert chosen(KNOWN, Config(preprocess="unit")).origin is Origin.user
    # who says how images are resized, or a mean alone, has not said what their values are
    assert chosen(KNOWN, Config(mean="0.5")).origin is Origin.assumed
    assert chosen(KNOWN, Config(mean="0.5", std="0.5")).origin is Origin.user
    assert chosen(KNOWN, Config(resize="40")).origin is Origin.assumed
    assert "with resize" in chosen(KNOWN, Config(resize="40")).source


@pytest.mark.parametrize(
    ("given", "is_sized", "line"),
    [
        ({"mean": "0.5,0.5"}, False, "--mean 0.5,0.5: 2 numbers, and the model takes 3 channels; give as many"),
        ({"resize": "20"}, False, "--resize 20: is smaller than the crop of 32x32; give more, or set --crop or"),
        ({"resize": "40x20"}, False, "--resize 40x20: is smaller than the crop of 32x32"),
        (
            {"crop": "40"},
            True,
            "--crop 40: is the size of the input, and --input-size says 32x32; leave one of them out",
        ),
        ({"crop": "none", "resize": "40"}, True, "--resize 40 --crop none: is the size of the input, and --input-size"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(given, is_sized, line):
    with pytest.raises(UserError) as error:
        chosen(KNOWN, Config(**given), is_sized)
    assert line in str(error.value)


def test_other_sizes_and_channels_keep_it():
    squashed = chosen(KNOWN, Config(crop="none")).resized(None, 48, 64)
    assert (squashed.stretched, squashed.size) == ((48, 64), (48, 64))
    grey = chosen(Preprocessing().resized(1, 28, 28), Config(preprocess="unit"))
    assert (grey.mean, grey.std) == ((0.0,), (1.0,))
    assert chosen(Preprocessing().resized(1, 28, 28), Config(preprocess="timm")).channels == 1


class OfTimm(nn.Conv2d):
    pretrained_cfg = {
        "architecture": "of_timm",
        "input_size": (3, 40, 40),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "crop_pct": 0.8,
        "interpolation": "bicubic",
    }


def test_a_model_of_timms_says_it_whoever_made_it():
    how = of_module(OfTimm(3, 4, 3), Preprocessing())
    assert (how.origin, how.source) == (Origin.package, "timm's configuration of of_timm")
    assert (how.size, how.covered, how.mean[0], how.std[0]) == ((40, 40), (50, 50), 0.5, 0.25)
    assert how.interpolation is InterpolationMode.BICUBIC
    assert of_module(nn.Conv2d(3, 4, 3), KNOWN) is KNOWN
    broken = OfTimm(3, 4, 3)
    broken.pretrained_cfg = {"mean": ("a",), "std": (0,)}
    assert of_module(broken, KNOWN) is KNOWN


def test_a_checkpoint_of_ones_own_does_not_say_it(tmp_path):
    net = loading.load("mobilenet_v3_small", "random", "32")
    assert net.preprocessing.origin is Origin.weights
    torch.save(net.module.state_dict(), tmp_path / "own.pth")
    own = loading.load("mobilenet_v3_small", str(tmp_path / "own.pth"), "32")
    assert own.preprocessing.origin is Origin.assumed
    assert own.preprocessing.mean == net.preprocessing.mean
