"""Items of loaders and lists, taken apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fxconv.data.batch_items import Items, class_indices
from fxconv.errors import UserError
from fxconv.models.expected_input import ExpectedInput
from fxconv.models.preprocessing import Preprocessing

HOW = Preprocessing(8, 8, mean=(0.0,) * 3, std=(1.0,) * 3, resize=1.0)


def items(layer: nn.Module | None = None, how: Preprocessing = HOW) -> Items:
    return Items(ExpectedInput.of(nn.Sequential(layer or nn.Conv2d(3, 2, 1)), preprocessing=how), "calibration")


@pytest.mark.parametrize(
    ("beside", "found"),
    [
        (torch.tensor([3, 4]), [3, 4]),
        (torch.tensor([[3], [4]]), [3, 4]),
        (np.array([3, 4]), [3, 4]),
        ([3, np.int64(4)], [3, 4]),
        ((torch.tensor(3), torch.tensor(4)), [3, 4]),
        (torch.tensor([0.5, 0.5]), None),
        (torch.eye(2, dtype=torch.int64), None),
        (torch.tensor([3]), None),
        ([{"boxes": 1}, {"boxes": 2}], None),
        ("ab", None),
        (None, None),
    ],
)
def test_labels_are_one_whole_number_an_image(beside, found):
    assert class_indices(beside, 2) == found


def test_a_list_of_images_is_a_batch_and_a_list_of_a_batch_and_labels_is_not():
    image = torch.zeros(3, 8, 8)
    assert len(list(items().rows([image, image, image]))) == 3
    assert len(list(items().rows([Image.new("RGB", (8, 8))] * 2))) == 2
    assert [row.label for row in items().rows([torch.zeros(2, 3, 8, 8), torch.tensor([5, 6])])] == [5, 6]
    assert len(list(items().rows([image, image], is_sample=True))) == 1


def test_images_and_targets_as_detection_loaders_give_them():
    image = torch.zeros(3, 8, 8)
    rows = list(items().rows(((image, image), ({"boxes": 1}, {"boxes": 2}))))
    assert [(row.inputs[0].shape, row.label) for row in rows] == [((3, 8, 8), None)] * 2


def test_memory_is_not_shared_with_the_loader():
    batch = torch.zeros(1, 3, 8, 8)
    (row,) = items().rows(batch)
    batch += 1
    assert float(row.inputs[0].sum()) == 0


def test_a_palette_and_transparency_become_the_networks_channels():
    for mode in ("P", "RGBA", "L"):
        (row,) = items().rows(Image.new(mode, (8, 8)))
        assert row.inputs[0].shape == (3, 8, 8)
    (row,) = items().rows(np.zeros((8, 8, 4), np.uint8))
    assert row.inputs[0].shape == (3, 8, 8)


def test_pictures_cannot_fill_other_channels():
    five = Preprocessing(8, 8, mean=(0.0,) * 5, std=(1.0,) * 5, resize=1.0)
    with pytest.raises(UserError, match="photographs cannot fill 5 channels; give float tensors"):
        list(items(nn.Conv2d(5, 2, 1), five).rows(Image.new("RGB", (8, 8))))
    (row,) = items(nn.Conv2d(5, 2, 1), five).rows(np.zeros((8, 8, 5), np.uint8))
    assert row.inputs[0].shape == (5, 8, 8)
    with pytest.raises(UserError, match="uint8 images of 5 channels cannot be resized"):
        list(items(nn.Conv2d(5, 2, 1), five).rows(np.zeros((9, 9, 5), np.uint8)))
