"""What a model from Python is called with, as its layers and its example say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fxconv.errors import ArgumentError, UserError
from fxconv.models.expected_input import ExpectedInput
from fxconv.models.preprocessing import Preprocessing


class Net(nn.Module):
    """A convolution of some kind, and a forward of some form."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Two(Net):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:  # type: ignore[override]
        return self.layer(left) + right


class Listed(Net):
    def forward(self, images: list[Tensor]) -> Tensor:  # type: ignore[override]
        return self.layer(torch.stack(images))


CONV = nn.Conv2d(3, 4, 3)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(1, 4, 3), (1, 224, 224)),
        (nn.Conv2d(3, 4, 3), (3, 224, 224)),
        (nn.Conv2d(5, 4, 3), (5, 224, 224)),
        (nn.Conv3d(3, 4, 3), (3, 16, 224, 224)),
        (nn.Linear(4, 4), (3, 224, 224)),
    ],
)
def test_the_first_convolution_says_the_channels(layer, shape):
    found = ExpectedInput.of(Net(layer))
    assert found.preprocessing.shape == shape
    assert found.example is None


def test_the_example_says_the_size():
    found = ExpectedInput.of(Net(CONV), torch.zeros(1, 3, 20, 30))
    assert found.preprocessing.shape == (3, 20, 30)
    assert ExpectedInput.of(Two(CONV), (torch.zeros(1, 3, 8, 8),) * 2).preprocessing.images == 2


def test_preprocessing_that_is_given_stays():
    how = Preprocessing(12, 12)
    assert ExpectedInput.of(Net(CONV), torch.zeros(1, 3, 20, 30), how).preprocessing is how


def test_a_model_of_lists_takes_values_from_0_to_1():
    assert ExpectedInput.of(Listed(CONV)).preprocessing.mean == (0.0,) * 3


def test_what_is_one_image():
    found = ExpectedInput.of(Net(CONV))
    assert found.is_single(torch.zeros(3, 9, 9))
    assert not found.is_single(torch.zeros(1, 3, 9, 9))
    assert not found.is_single(torch.zeros(4, 9, 9))
    assert not ExpectedInput.of(Net(nn.Linear(9, 9))).is_single(torch.zeros(3, 9, 9))


@pytest.mark.parametrize(
    "given",
    [
        torch.zeros(1, 3, 8, 8),
        (torch.zeros(1, 3, 8, 8),),
        [torch.zeros(1, 3, 8, 8)],
        {"x": torch.zeros(1, 3, 8, 8)},
        torch.zeros(3, 8, 8),
        np.zeros((1, 3, 8, 8)),
    ],
    ids=["tensor", "tuple", "list", "dict", "one image", "array"],
)
def test_one_input_in_any_form(given):
    (argument,) = ExpectedInput.of(Net(CONV), given).example
    assert (argument.shape, argument.dtype) == ((1, 3, 8, 8), torch.float32)


def test_a_dict_is_put_in_forwards_order():
    left, right = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    assert ExpectedInput.of(Two(CONV), {"right": right, "left": left}).example == (left, right)


@pytest.mark.parametrize("given", [torch.zeros(2, 3, 8, 8), [torch.zeros(3, 8, 8)] * 2, ([torch.zeros(3, 8, 8)] * 2,)])
def test_a_list_of_images_in_any_form(given):
    (images,) = ExpectedInput.of(Listed(CONV), given).example
    assert [image.shape for image in images] == [(3, 8, 8)] * 2


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (Net(CONV), 3, "example_inputs: type int is not taken; give a tensor"),
        (Two(CONV), torch.zeros(1, 3, 8, 8), r"1 tensors for a model that takes 2 \(left, right\); give a tuple"),
        (Net(CONV), {"y": torch.zeros(1)}, "'y' is no parameter of forward; a dict has a tensor for each of x, and a "),
        (Two(CONV), {"left": torch.zeros(1)}, "'right' is not given; a dict has a tensor for each of left, right"),
        (
            Net(CONV),
            ({"a": torch.zeros(1)},),
            "input 0 is a dict, and a forward that takes a dict is not converted; wrap",
        ),
    ],
)
def test_what_is_no_example_is_told(model, given, message):
    with pytest.raises(UserError, match=message) as error:
        ExpectedInput.of(model, given)
    assert isinstance(error.value, ArgumentError) == isinstance(given, int)


def test_whether_photographs_fill_the_inputs():
    assert ExpectedInput.of(Net(CONV)).is_of_images
    assert ExpectedInput.of(Two(CONV), (torch.zeros(1, 3, 8, 8),) * 2).is_of_images
    assert not ExpectedInput.of(Two(CONV), (torch.zeros(1, 3, 8, 8), torch.zeros(1, 4))).is_of_images
    assert not ExpectedInput.of(Net(nn.Embedding(4, 4)), torch.zeros(1, 4, dtype=torch.int64)).is_of_images
