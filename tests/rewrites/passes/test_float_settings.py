"""Whole numbers become floats where torch declares floats, so that TorchScript takes the model."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import check, conv, images, model
from torch import nn

from rewrites import rewrite
from rewrites.passes import FloatSettings

RULE = FloatSettings()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: F.hardtanh(x, -1.0, 1.0), id="floats already"),
        pytest.param(lambda self, x: F.interpolate(x, 4), id="a size is whole"),
        pytest.param(lambda self, x: F.max_pool2d(x, 2), id="so is a window"),
        pytest.param(lambda self, x: x.clamp(-1, 1), id="a method takes either"),
        pytest.param(lambda self, x: F.dropout(x, training=True, p=0.0), id="a bool is no number"),
        pytest.param(lambda self, x: F.softplus(x, 1), id="a builtin takes either"),
        pytest.param(lambda self, x: F.lp_pool2d(x.abs(), 2, 2), id="a setting that may be whole"),
    ],
)
def test_left_as_it_is(forward):
    checked = check(RULE, model(forward))
    assert checked.result.edits == ()


@pytest.mark.parametrize(
    ("forward", "after"),
    [
        (lambda self, x: F.hardtanh(x, -1, 1), "min_val=-1.0, max_val=1.0"),
        (lambda self, x: F.threshold(x, threshold=0, value=2), "0.0, 2.0"),
        (lambda self, x: F.interpolate(x, scale_factor=2), "scale_factor=2.0"),
        (lambda self, x: F.interpolate(x, None, (2, 3), "bilinear"), "(2.0, 3.0)"),
        (lambda self, x: F.pad(x, (1, 1), value=1), "value=1.0"),
    ],
)
def test_a_call(forward, after):
    checked = check(RULE, model(forward))
    assert after in checked.changes[-1] and len(checked.result.edits) == 1


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        (nn.Hardtanh(-1, 1), {"min_val": -1.0, "max_val": 1.0}),
        (nn.Threshold(0, 2), {"threshold": 0.0, "value": 2.0}),
        (nn.ELU(1), {"alpha": 1.0}),
        (nn.LeakyReLU(0), {"negative_slope": 0.0}),
        (nn.Softshrink(1), {"lambd": 1.0}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_module(part, settings):
    checked = check(RULE, model(lambda self, x: self.part(x), part=part))
    assert len(checked.result.edits) == len(settings)
    changed = rewrite(model(lambda self, x: self.part(x), part=part), (RULE,)).graph_module.part
    assert {name: repr(getattr(changed, name)) for name in settings} == {n: repr(v) for n, v in settings.items()}


def test_what_torchscript_refused_is_scripted():
    def forward(self, x):
        return F.interpolate(F.threshold(self.act(self.conv(x)), 0, 1), scale_factor=2, mode="bicubic")

    original = model(forward, conv=conv(), act=nn.Hardtanh(-2, 2))
    rewritten = rewrite(original).graph_module
    x = images()[0]
    with torch.no_grad():
        assert torch.equal(torch.jit.script(rewritten)(x), original(x))
