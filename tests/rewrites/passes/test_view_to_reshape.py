"""x.view(shape) becomes x.reshape(shape), which takes any memory layout."""

import pytest
import torch
from passcheck import check, conv, model, text
from torch import nn

from rewrites.passes import ViewToReshape

RULE = ViewToReshape()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.conv(x).flatten(1), id="flatten takes any layout already"),
        pytest.param(lambda self, x: self.conv(x).reshape(2, -1), id="so does reshape"),
    ],
)
def test_left_as_it_is(forward):
    assert check(RULE, model(forward, conv=conv())).result.edits == ()


@pytest.mark.parametrize(
    ("forward", "after"),
    [
        pytest.param(lambda self, x: x.view(x.size(0), -1), "+view = x.reshape(size, -1)", id="computed sizes"),
        pytest.param(lambda self, x: x.view((2, 4, 2, 8, 8)), "+view = x.reshape((2, 4, 2, 8, 8))", id="a tuple"),
        pytest.param(lambda self, x: x.view(size=(2, -1)), "+view = x.reshape(shape=(2, -1))", id="by name"),
    ],
)
def test_becomes_reshape(forward, after):
    assert check(RULE, model(forward)).changes[-1] == after


def test_classifier_behind_a_convolution():
    def forward(self, x):
        y = self.conv(x)
        return self.linear(y.view(y.size(0), -1))

    checked = check(RULE, model(forward, conv=conv(), linear=nn.Linear(512, 4)))
    assert checked.changes == text("""
        -view = conv.view(size, -1)
        +view = conv.reshape(size, -1)
    """)
    assert checked.whole.islands == ()


def test_refuses_another_type():
    checked = check(RULE, model(lambda self, x: self.conv(x).view(torch.int32), conv=conv()))
    assert checked.skips == {"view": "it reads the bytes as another type, which no reshape does"}
