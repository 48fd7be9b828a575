"""A pad with minus infinity between what is not negative and a max pool is one with zeros."""

import math

import pytest
import torch
import torch.nn.functional as F
from passcheck import assert_same_results, check, conv, images, model
from torch import nn

from rewrites.passes import FunctionalToModule, PaddedMaxPools

RULE = PaddedMaxPools()
LEAST = -math.inf


def checked(forward, **parts):
    return check(RULE, model(forward, conv=conv(), **parts), before=(FunctionalToModule(),))


@pytest.mark.parametrize("value", [LEAST, -1e4, -1])
@pytest.mark.parametrize(
    "before", [lambda y: y.relu(), lambda y: F.relu6(y), lambda y: y.sigmoid(), lambda y: F.max_pool2d(y.relu(), 2)]
)
def test_becomes_zero(before, value):
    found = checked(
        lambda self, x: self.conv(F.max_pool2d(F.pad(before(self.conv(x)), (0, 1, 1, 0), value=value), 3, 2))
    )
    assert len(found.result.edits) == 1 and found.whole.islands == ()
    assert "pad = F.pad(" in "\n".join(found.lines) and "value" not in "\n".join(found.lines)


def test_other_sizes_and_batches():
    original = model(
        lambda self, x: F.max_pool2d(F.pad(self.conv(x).relu(), (1, 1, 1, 1), value=LEAST), 2, 2), conv=conv()
    )
    found = check(RULE, original, before=(FunctionalToModule(),))
    assert found.result.edits
    others = [images(seed, shape) for seed, shape in enumerate([(1, 8, 1, 1), (3, 8, 5, 9), (1, 8, 2, 3)])]
    assert_same_results(original, found.whole.graph_module, others)


def test_layer():
    found = checked(lambda self, x: F.max_pool2d(self.pad(x.relu()), 3), pad=nn.ConstantPad2d((0, 1, 0, 1), LEAST))
    assert "pad = self.pad_1(relu)  # ZeroPad2d" in "\n".join(found.lines)


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (
            lambda self, x: F.max_pool2d(F.pad(self.conv(x), (0, 1), value=LEAST), 3),
            "what it pads may be negative, and the largest of a window below 0",
        ),
        (
            lambda self, x: F.max_pool2d(F.pad(x.relu(), (0, 3), value=-1.0), 3),
            "a window of the max pool behind it may lie in the padding alone",
        ),
        (
            lambda self, x: F.max_pool2d(F.pad(x.relu(), (2, 0), value=-1.0), 3, 1, 1),
            "a window of the max pool behind it may lie in the padding alone",
        ),
        (
            lambda self, x: F.max_pool2d(F.pad(x.relu(), (0, 1), value=-1.0), 3, 2, ceil_mode=True),
            "a window of the max pool behind it may lie in the padding alone",
        ),
        (
            lambda self, x: F.max_pool2d(F.pad(x.relu(), (0, 1), value=-1.0), 3, 1, 1, dilation=2),
            "the windows of the max pool behind it have gaps, in which all of its values may lie",
        ),
        (
            lambda self, x: F.max_pool2d(F.pad(x.relu(), (0, 0, 0, 0, 1, 0), value=-1.0), 3),
            "it pads along more than the max pool behind it looks at",
        ),
        (
            lambda self, x: F.max_pool2d(F.pad(x.relu(), (0, x.shape[3] - 7), value=-1.0), 3),
            "how much it pads is computed when the model runs",
        ),
        (lambda self, x: F.pad(x.relu(), (0, 1), value=-1.0).mean(3), "what reads it is no max pool"),
    ],
)
def test_refuses(forward, reason):
    found = checked(forward)
    assert found.result.edits == () and list(found.skips.values()) == [reason]


@pytest.mark.parametrize("pad", [{"value": 0.0}, {"value": 1.0}, {"mode": "reflect"}, {}])
def test_other_pads_are_left_as_they_are(pad):
    found = checked(lambda self, x: F.max_pool2d(F.pad(x.relu(), (0, 1, 0, 1), **pad), 3))
    assert found.result.edits == () and found.skips == {}


def test_a_pad_read_by_an_average_too():
    def forward(self, x):
        y = F.pad(x.relu(), (0, 1, 0, 1), value=-1.0)
        return F.max_pool2d(y, 3) + F.avg_pool2d(y, 3)

    assert list(checked(forward).skips.values()) == ["what reads it is no max pool"]
    assert torch.isfinite(forward(None, images()[0])).all()
