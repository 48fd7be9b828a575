"""Photographs become the tensors that the weights were trained to see."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.models import get_model_weights
from torchvision.transforms import functional as F

from fxconv.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


def photograph(height: int, width: int) -> Image.Image:
    """Gradients, an edge and grain: something every resampling treats differently."""
    rng = np.random.default_rng(height * 1000 + width)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([x * 255 / width, y * 255 / height, np.where(x > y, 220, 30)], axis=2)
    return Image.fromarray(np.clip(base + rng.normal(0, 20, base.shape), 0, 255).astype(np.uint8))


SIZES = [(300, 200), (200, 300), (256, 256), (100, 80), (231, 517), (224, 1000), (1031, 233)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet50", "efficientnet_b0", "inception_v3"])
def test_equals_the_transforms_of_the_weights(name, size, tmp_path):
    path = tmp_path / "photo.jpg"
    photograph(*size).save(path, quality=90)
    weights = get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    preprocessing = Preprocessing.from_preset(transforms, str(weights))
    with Image.open(path) as image:
        ours, theirs = preprocessing.photograph(image), transforms(image)
    assert preprocessing.shape == (3, transforms.crop_size[0], transforms.crop_size[0])
    assert torch.equal(ours, theirs)


@pytest.fixture
def mobilenet():
    weights = get_model_weights("mobilenet_v2").IMAGENET1K_V1
    return Preprocessing.from_preset(weights.transforms(), str(weights)), weights.transforms()


@pytest.mark.parametrize(("orientation", "turn"), [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_270)])
def test_the_exif_orientation_is_applied(orientation, turn, mobilenet, tmp_path):
    preprocessing, transforms = mobilenet
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    upright = photograph(240, 320)
    upright.save(path, exif=exif)
    with Image.open(path) as image:
        ours = preprocessing.photograph(image)
        assert torch.equal(ours, transforms(ImageOps.exif_transpose(image)))
    assert torch.equal(ours, transforms(upright.transpose(turn)))
    assert not torch.equal(ours, transforms(upright))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_kinds_of_images_become_rgb(mode, mobilenet, tmp_path):
    preprocessing, transforms = mobilenet
    path = tmp_path / "photo.tif"
    photograph(250, 250).convert(mode).save(path)
    with Image.open(path) as image:
        assert torch.equal(preprocessing.photograph(image), transforms(image.convert("RGB")))


def test_one_channel_networks_see_grey(tmp_path):
    preprocessing = Preprocessing().resized(1, 28, 28)
    grey = photograph(28 * 8, 28 * 8).convert("L")
    out = preprocessing.photograph(grey.convert("RGB"))
    assert out.shape == (1, 28, 28)
    mean, std = sum(IMAGENET_MEAN) / 3, sum(IMAGENET_STD) / 3
    assert preprocessing.mean == pytest.approx((mean,))
    assert ((out * std + mean) * 255).mean().item() == pytest.approx(np.asarray(grey).mean(), abs=3)


@pytest.mark.parametrize(("height", "width"), [(160, 320), (320, 160), (64, 224)])
@pytest.mark.parametrize("size", [(300, 300), (200, 900), (900, 200)], ids=str)
def test_inputs_that_are_not_square_are_covered_and_cropped_in_the_centre(height, width, size):
    preprocessing = Preprocessing().resized(None, height, width)
    image = photograph(*size)
    out = preprocessing.photograph(image)
    assert out.shape == (3, height, width)
    # the same in other words: the smallest enlargement that still covers the margin around the crop
    target = round(height * 256 / 224), round(width * 256 / 224)
    scale = max(target[0] / image.height, target[1] / image.width)
    resized = F.resize(image, [int(image.height * scale + 1e-9), int(image.width * scale + 1e-9)])
    expected = F.normalize(F.to_tensor(F.center_crop(resized, [height, width])), IMAGENET_MEAN, IMAGENET_STD)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("size", [(1, 100_000), (60_000, 1), (3, 99_999), (1, 1)], ids=str)
@pytest.mark.parametrize(("height", "width"), [(224, 224), (32, 320), (320, 32)])
def test_the_most_oblong_photographs_need_little_memory(size, height, width, monkeypatch):
    resized = []
    real = F.resize
    monkeypatch.setattr(F, "resize", lambda image, size, *rest, **options: resized.append(size) or real(image, size))
    image = Image.new("RGB", size[::-1], (10, 100, 200))
    out = Preprocessing().resized(None, height, width).photograph(image)
    assert math.prod(resized[0]) <= 20 * 366 * 366
    expected = (torch.tensor([10, 100, 200]) / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    assert torch.allclose(out, expected.view(3, 1, 1).expand(3, height, width), atol=1e-6)


@pytest.mark.parametrize("size", [(20, 1001), (1000, 31)], ids=str)
def test_the_middle_of_an_oblong_photograph_is_what_torchvision_crops(size, mobilenet):
    preprocessing, transforms = mobilenet
    image = photograph(*size)
    assert (preprocessing.photograph(image) - transforms(image)).abs().max() < 0.05


def test_the_ratio_of_margin_to_crop_follows_the_input_size():
    weights = get_model_weights("resnet50").IMAGENET1K_V2  # resized to 232, cropped to 224
    preprocessing = Preprocessing.from_preset(weights.transforms(), str(weights)).resized(None, 112, 112)
    image = photograph(116, 232)
    crop = F.center_crop(image, [112, 112])  # 112 * 232 / 224 = 116: the photograph needs no resizing
    expected = F.normalize(F.to_tensor(crop), IMAGENET_MEAN, IMAGENET_STD)
    assert torch.equal(preprocessing.photograph(image), expected)


def test_pixels_of_the_right_size_are_only_normalized():
    preprocessing = Preprocessing().resized(None, 8, 12)
    array = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    array.flags.writeable = False  # as arrays mapped from a file are
    expected = (torch.tensor(array).permute(2, 0, 1) / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(
        IMAGENET_STD
    ).view(3, 1, 1)
    assert torch.allclose(preprocessing.pixels(array), expected, atol=1e-6)


def test_pixels_of_another_size_are_treated_as_a_photograph():
    preprocessing = Preprocessing().resized(None, 32, 32)
    image = photograph(50, 70)
    assert torch.equal(preprocessing.pixels(np.asarray(image)), preprocessing.photograph(image))


def test_pixels_of_one_channel_can_be_resized():
    preprocessing = Preprocessing().resized(1, 16, 16)
    array = np.full((40, 40, 1), 128, np.uint8)
    out = preprocessing.pixels(array)
    assert out.shape == (1, 16, 16)
    assert torch.all(out == out[0, 0, 0])


def test_weights_without_a_preset_get_imagenets():
    assert Preprocessing.from_preset(object(), "nothing") == Preprocessing()


def test_a_photograph_on_disk_is_not_changed(tmp_path):
    path: Path = tmp_path / "photo.png"
    photograph(60, 60).save(path)
    before = path.read_bytes()
    with Image.open(path) as image:
        Preprocessing().resized(None, 32, 32).photograph(image)
    assert path.read_bytes() == before


def test_presets_that_name_no_normalization_are_asked_for_black_and_white():
    flow = get_model_weights("raft_small").DEFAULT
    image = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
    preprocessing = Preprocessing.from_preset(flow.transforms(), str(flow))
    assert preprocessing.mean == preprocessing.std == (0.5, 0.5, 0.5)
    assert torch.equal(preprocessing.normalized(image), flow.transforms()(image, image)[0])
    detection = get_model_weights("fcos_resnet50_fpn").DEFAULT
    preprocessing = Preprocessing.from_preset(detection.transforms(), str(detection))
    assert torch.equal(preprocessing.normalized(image), detection.transforms()(image))


def test_presets_that_resize_and_do_not_crop_give_a_square():
    weights = get_model_weights("lraspp_mobilenet_v3_large").DEFAULT
    preprocessing = Preprocessing.from_preset(weights.transforms(), str(weights))
    assert (preprocessing.shape, preprocessing.covered) == ((3, 520, 520), (520, 520))
    square = photograph(600, 600)
    assert torch.equal(preprocessing.photograph(square), weights.transforms()(square))


def moving(frames: int | None, images: int) -> Preprocessing:
    return replace(Preprocessing(height=16, width=24, resize=1.5), frames=frames, images=images)


@pytest.mark.parametrize("index", range(4))
def test_clips_and_several_images_are_one_photograph_moved(index):
    down, right = ((1, 1), (-1, 1), (-1, -1), (1, -1))[index]
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(36), indexing="ij")
    pixels = torch.stack([rows, columns, rows]).to(torch.uint8)
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)

    def corner(view: torch.Tensor) -> list[int]:
        return ((view * std + mean) * 255).round()[:2, 0, 0].int().tolist()

    first, second = moving(None, 2).moving(pixels, index)
    assert first.shape == second.shape == (3, 16, 24)
    assert corner(first) == [0 if down > 0 else 8, 0 if right > 0 else 12]
    assert corner(second) == [8 if down > 0 else 0, 12 if right > 0 else 0]
    (clip,) = moving(5, 1).moving(pixels, index)
    assert clip.shape == moving(5, 1).shape == (3, 5, 16, 24)
    assert torch.equal(clip[:, 0], first)
    assert torch.equal(clip[:, 4], second)
    assert corner(clip[:, 2]) == [4, 6]  # the centre
    before, after = moving(3, 2).moving(pixels, index)
    assert before.shape == after.shape == (3, 3, 16, 24)


def test_a_wide_photograph_moves_no_further_than_the_margin():
    first, second = moving(None, 2).inputs(Image.new("RGB", (400, 24)), 0)
    assert first.shape == second.shape == (3, 16, 24)
    pixels = torch.arange(400).expand(3, 24, 400).to(torch.uint8)
    a, b = moving(None, 2).moving(pixels, 0)
    assert torch.equal(a[..., 12:], b[..., :12])


def test_a_still_of_one_image_is_the_photograph():
    image = photograph(50, 40)
    (still,) = Preprocessing().resized(None, 32, 32).inputs(image, 3)
    assert torch.equal(still, Preprocessing().resized(None, 32, 32).photograph(image))
