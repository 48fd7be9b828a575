"""The size of image that a network takes, found by running it."""

from __future__ import annotations

import pytest
from torch import nn

from fxconv.models.input_shape import in_option, suggested


class Picky(nn.Module):
    """Takes images of one side alone."""

    def __init__(self, side):
        super().__init__()
        self.conv, self.side = nn.Conv2d(2, 4, 3), side

    def forward(self, x):
        if x.shape[-1] != self.side:
            raise ValueError(f"{self.side} only")
        return self.conv(x)


@pytest.mark.parametrize(
    ("module", "size", "shape"),
    [
        (nn.Conv2d(1, 4, 3), None, (1, 224, 224)),
        (nn.Conv2d(1, 4, 3), (64, 48), (1, 64, 48)),
        (nn.Sequential(nn.Conv2d(1, 4, 5), nn.Flatten(), nn.Linear(4 * 24 * 24, 2)), (224, 224), (1, 28, 28)),
        (nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten(), nn.Linear(4 * 28 * 28, 2)), None, (3, 32, 32)),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 2)), None, (1, 28, 28)),
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)), None, (3, 32, 32)),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), None, None),
        (Picky(96), None, (2, 96, 96)),
        (Picky(97), None, None),
        (Picky(97), (97, 97), (2, 97, 97)),
        (nn.Conv1d(3, 4, 3), None, None),
        (nn.ReLU(), None, None),
    ],
    ids=str,
)
def test_the_shape(module, size, shape):
    assert suggested(module.eval(), size) == shape


def test_a_size_that_leaves_nothing_is_none():
    shrinking = nn.Sequential(nn.Conv2d(3, 4, 3, stride=8), nn.MaxPool2d(8), nn.Flatten(), nn.Linear(4 * 3 * 3, 2))
    assert suggested(shrinking, (8, 8)) == (3, 224, 224)


def test_the_model_is_left_as_it_is():
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), norm).train()
    assert suggested(model) == (1, 224, 224)
    assert norm.running_mean.tolist() == [0, 0, 0] and not model._forward_hooks


def test_as_the_option_has_it():
    assert in_option((1, 32, 48)) == "1x32x48"
