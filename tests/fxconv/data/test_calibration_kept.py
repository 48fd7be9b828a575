"""Images that were taken are kept: the same in every pass, and no more than were taken."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn

from fxconv.data.batch_items import Items
from fxconv.data.calibration_kept import KeptImages
from fxconv.errors import UserError
from fxconv.models.expected_input import ExpectedInput
from fxconv.models.preprocessing import Preprocessing

HOW = Preprocessing(8, 8, mean=(0.25,) * 3, std=(0.5,) * 3, resize=1.0)


def kept(images, count: int | None = None) -> KeptImages:
    items = Items(ExpectedInput.of(nn.Sequential(nn.Conv2d(3, 2, 1)), preprocessing=HOW), "calibration")
    stream = (row for image in images for row in items.rows(image))
    return KeptImages(stream, items, count, 2, "{count} images of a test")


def test_no_more_is_read_than_is_taken():
    read: list[int] = []

    def images():
        for place in range(10):
            read.append(place)
            yield torch.full((3, 8, 8), float(place))

    data = kept(images(), 3)
    assert read == [0, 1, 2]
    assert [float(row[0][0, 0, 0]) for row in data.images_from(1)] == [1, 2]
    assert [float(row[0][0, 0, 0]) for row in data.others(2).images()] == [3, 4]
    assert read == [0, 1, 2, 3, 4]
    assert data.others(100).count == 7
    assert data.count == 3


def test_there_may_be_no_others():
    assert kept([torch.zeros(3, 8, 8)], 3).others(1) is None


def test_pixels_can_be_normalized_otherwise():
    data = kept([Image.new("RGB", (8, 8), (51, 102, 204))])
    (row,) = data.images()
    assert row[0][:, 0, 0].tolist() == pytest.approx([-0.1, 0.3, 1.1])
    plain = Preprocessing(8, 8, mean=(0.0,) * 3, std=(1.0,) * 3, resize=1.0)
    (again,) = data.normalized_as(plain).images()
    assert again[0][:, 0, 0].tolist() == pytest.approx([0.2, 0.4, 0.8])
    tensors = kept([torch.zeros(3, 8, 8)])
    assert tensors.normalized_as(plain) is tensors


def test_images_of_two_sizes_are_refused():
    with pytest.raises(UserError, match="calibration: images of 3x8x8 and of 3x9x9; give them in one size"):
        kept([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)])
