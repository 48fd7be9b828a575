"""3-D max-pools and zero-pads become two-dimensional ones, with the same bits."""

import itertools

import pytest
import torch.nn.functional as F
from passcheck import check, images, model, traced
from torch import nn

from rewrites import run_pass
from rewrites.passes import FactorPool3d, FunctionalToModule

RULE = FactorPool3d()


def video():
    return images(shape=(2, 8, 6, 9, 7))


def called(lines) -> list[str]:
    return [line.split("# ")[1] for line in lines if "# " in line]


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(nn.AvgPool3d(2), id="an average"),
        pytest.param(nn.AdaptiveMaxPool3d(2), id="adaptive"),
        pytest.param(nn.ConstantPad3d(1, 0.5), id="padding with another value"),
    ],
)
def test_left_as_it_is(part):
    checked = check(RULE, model(lambda self, x: self.part(x), part=part), *video())
    assert checked.result.edits == ()
    assert checked.skips == {}


def test_refuses_indices():
    part = nn.MaxPool3d(2, return_indices=True)
    checked = check(RULE, model(lambda self, x: self.pool(x)[0], pool=part), *video())
    assert checked.skips == {"pool": "a max-pool that returns indices has no int8 kernel"}


SETTINGS = [
    {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil}
    for (kernel, padding), stride, dilation, ceil in itertools.product(
        [(3, 1), ((2, 3, 1), (1, 1, 0)), ((1, 3, 2), 0), ((2, 1, 1), 0)], [None, (2, 1, 3), 2], [1, (1, 2, 1)],
        [False, True],
    )
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_the_largest_of_the_largest(settings):
    # `traced` alone: what every pass promises is checked below, on fewer cases.
    original = model(lambda self, x: self.pool(x), pool=nn.MaxPool3d(**settings))
    graph_module = traced(original)
    run_pass(graph_module, RULE)
    (batch,) = video()
    assert graph_module(batch).equal(original(batch))


def test_both_within_frames_and_along_time():
    checked = check(RULE, model(lambda self, x: self.pool(x), pool=nn.MaxPool3d(3, 2, 1)), *video())
    assert called(checked.lines) == [
        "ToFrames()", "MaxPool2d", "FromFrames()", "ToColumns()", "MaxPool2d", "FromColumns()",
    ]  # fmt: skip


def test_within_frames_alone():
    pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    checked = check(RULE, model(lambda self, x: self.pool(x), pool=pool), *video())
    assert called(checked.lines) == ["ToFrames()", "MaxPool2d", "FromFrames()"]


def test_along_time_alone():
    checked = check(RULE, model(lambda self, x: self.pool(x), pool=nn.MaxPool3d((2, 1, 1))), *video())
    assert called(checked.lines) == ["ToColumns()", "MaxPool2d", "FromColumns()"]


def test_a_function():
    original = model(lambda self, x: F.max_pool3d(x, 2, padding=1, ceil_mode=True))
    checked = check(RULE, original, *video(), before=(FunctionalToModule(),))
    assert called(checked.lines).count("MaxPool2d") == 2


@pytest.mark.parametrize(
    ("pad", "parts"),
    [((1, 2, 0, 1, 2, 1), 2), ((1, 2, 0, 1, 0, 0), 1), ((0, 0, 0, 0, 1, 0), 1), (1, 2), ((-1, 1, 0, 0, 0, 0), 1)],
    ids=str,
)
def test_zero_pads(pad, parts):
    checked = check(RULE, model(lambda self, x: self.pad(x), pad=nn.ZeroPad3d(pad)), *video())
    assert len([word for word in called(checked.lines) if word.startswith("ZeroPad2d")]) == parts


def test_in_int8_between_convolutions():
    original = nn.Sequential(nn.Conv3d(8, 8, 1), nn.ZeroPad3d(1), nn.MaxPool3d(2), nn.Conv3d(8, 8, (3, 1, 1)))
    assert check(RULE, original, *video()).whole.islands == ()
