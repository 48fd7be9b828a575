"""Dropout, StochasticDepth and Identity vanish, and nothing else."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from passcheck import check, conv, model, text
from torch import nn

from rewrites.passes import DropInferenceNoops

RULE = DropInferenceNoops()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.act(self.conv(x)), id="nothing to drop"),
        pytest.param(lambda self, x: F.dropout(self.conv(x), 0.0), id="a functional dropout that trains for ever"),
        pytest.param(lambda self, x: F.dropout(self.conv(x), 0.0, True), id="training is True, given by position"),
    ],
)
def test_left_as_it_is(forward):
    assert check(RULE, model(forward, conv=conv(), act=nn.ReLU())).result.edits == ()


@pytest.mark.parametrize(
    "noop",
    [nn.Identity(), nn.Dropout(0.5), nn.Dropout(0.5, inplace=True), nn.Dropout2d(), nn.Dropout3d(), nn.AlphaDropout(),
     nn.FeatureAlphaDropout(), torchvision.ops.StochasticDepth(0.5, "row")],
    ids=lambda noop: type(noop).__name__,
)  # fmt: skip
def test_module(noop):
    original = model(lambda self, x: self.act(self.noop(self.conv(x))), conv=conv(), noop=noop, act=nn.ReLU())
    checked = check(RULE, original)
    assert checked.lines == (
        "x: input",
        "conv = self.conv(x)  # Conv2d",
        "act = self.act(conv)  # ReLU()",
        "return act",
    )


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: F.dropout(self.conv(x), 0.5, self.training), id="by position"),
        pytest.param(lambda self, x: F.dropout(self.conv(x), training=self.training, inplace=True), id="by name"),
        pytest.param(lambda self, x: F.dropout2d(self.conv(x), 0.1, self.training), id="channels"),
        pytest.param(lambda self, x: torch.dropout(self.conv(x), 0.5, False), id="torch.dropout"),
        pytest.param(lambda self, x: F.feature_alpha_dropout(self.conv(x), 0.5, False), id="feature alpha"),
    ],
)
def test_function(forward):
    checked = check(RULE, model(forward, conv=conv()))
    assert checked.lines == ("x: input", "conv = self.conv(x)  # Conv2d", "return conv")
    assert [(edit.kind, edit.reason) for edit in checked.result.edits] == [("remove", "does nothing in eval mode")]


def test_diff():
    checked = check(RULE, model(lambda self, x: self.drop(self.conv(x)) + x, conv=conv(), drop=nn.Dropout(0.2)))
    assert checked.changes == text("""
        -drop = self.drop(conv)  # Dropout(p=0.2, inplace=False)
        -add = drop + x
        +add = conv + x
    """)


def test_a_value_changed_in_place_behind_a_dropout_is_the_value_before_it():
    # In eval mode a dropout hands on its input itself, not a copy.
    def forward(self, x):
        y = self.conv(x)
        z = F.dropout(y, 0.5, self.training)
        z += 1
        return y

    check(RULE, model(forward, conv=conv()))
