"""A mean over several dims keeps them, and squeezes drop them."""

import pytest
import torch
from passcheck import check, images, model, text
from torch import nn

from rewrites.passes import ReducedDims

RULE = ReducedDims()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: x.mean((2, 3)), id="an image's height and width"),
        pytest.param(lambda self, x: x.mean([-1, -2]), id="counted from the end"),
        pytest.param(lambda self, x: x.mean((1, 2, 3), True), id="dims kept"),
        pytest.param(lambda self, x: x.mean(1), id="one dim"),
        pytest.param(lambda self, x: x.mean(), id="all of them"),
        pytest.param(lambda self, x: x.sum((1, 2, 3)), id="a sum"),
    ],
)
def test_left_as_it_is(forward):
    checked = check(RULE, model(forward))
    assert checked.result.edits == ()
    assert checked.skips == {}


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        pytest.param(lambda self, x: x.mean((1, -1)), "its dims are counted from both ends", id="both ends"),
        pytest.param(
            lambda self, x: x.mean((1, 2, 3), dtype=torch.float64),
            "its settings are computed when the model runs, or not those of a mean alone",
            id="another type",
        ),
    ],
)
def test_refuses(forward, reason):
    assert check(RULE, model(forward)).skips == {"mean": reason}


def test_three_dims():
    checked = check(RULE, model(lambda self, x: torch.mean(x, dim=(2, 3, 4))), *images(shape=(2, 8, 3, 4, 5)))
    assert checked.changes == text("""
        -mean = torch.mean(x, dim=(2, 3, 4))
        -return mean
        +mean = torch.mean(x, (2, 3, 4), True)
        +squeeze = mean.squeeze(4)
        +squeeze_1 = squeeze.squeeze(3)
        +squeeze_2 = squeeze_1.squeeze(2)
        +return squeeze_2
    """)


@pytest.mark.parametrize("dims", [(2, 3, 4), (-1, -3, -2), (4, 1), (0, 2), [-4, -1], (3, 4)], ids=str)
def test_the_dims_that_are_dropped_are_those(dims):
    # Dims that are not reduced but of size 1 stay.
    checked = check(RULE, model(lambda self, x: x.mean(dims)), *images(shape=(2, 1, 3, 1, 5)))
    assert checked.result.edits


def test_in_int8_where_all_dims_are_of_size_1():
    original = nn.Sequential(nn.Conv3d(8, 8, 1), nn.ReLU(), model(lambda self, x: x.mean((2, 3, 4))))
    checked = check(RULE, original, *images(shape=(1, 8, 1, 1, 1)))
    assert checked.whole.islands == ()
