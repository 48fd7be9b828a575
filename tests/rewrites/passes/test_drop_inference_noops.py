"""Dropout, StochasticDepth and Identity vanish, and nothing else."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from passcheck import check, conv, model, text
from torch import nn

from rewrites import rewrite
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


CASTS = {
    "float": lambda self, y: y.float(),
    "to a type": lambda self, y: y.to(torch.float32),
    "to a type, by name": lambda self, y: y.to(dtype=torch.float32),
    "to the type of another": lambda self, y: y.type_as(self.conv(y)),
    "to another": lambda self, y: y.to(self.conv(y)),
    "to the type of a parameter": lambda self, y: y.to(self.conv.weight.dtype),
    "type": lambda self, y: y.type(torch.float32),
    "type in words": lambda self, y: y.type("torch.FloatTensor"),
    "to a device": lambda self, y: y.to("cpu", non_blocking=True),
    "to a device and a type": lambda self, y: y.to(torch.device("cpu"), torch.float),
    "cpu": lambda self, y: y.cpu(),
    "twice": lambda self, y: y.relu().flatten(2).float().view(y.shape).float(),
}


@pytest.mark.parametrize("name", CASTS)
def test_casts_to_what_it_is(name):
    original = model(lambda self, x: self.act(CASTS[name](self, self.conv(x))), conv=conv(), act=nn.ReLU())
    checked = check(RULE, original)
    removed = [edit for edit in checked.result.edits if edit.reason == "it is float32 already"]
    assert removed and not any("float" in line or ".to(" in line or ".type" in line for line in checked.lines)
    assert checked.whole.islands == ()


@pytest.mark.parametrize(
    "cast",
    [
        pytest.param(lambda self, x: self.conv(x).double(), id="another type"),
        pytest.param(lambda self, x: self.conv(x).to(torch.float64), id="another type by to"),
        pytest.param(lambda self, x: self.conv(x).to(torch.float32, copy=True), id="a copy"),
        pytest.param(lambda self, x: self.conv(x).to(memory_format=torch.channels_last), id="another layout"),
        pytest.param(lambda self, x: x.float(), id="of an input that is not known"),
        pytest.param(lambda self, x: self.conv(x).argmax(1).float(), id="whole numbers"),
        pytest.param(lambda self, x: (x > 0).float(), id="truth values"),
        pytest.param(lambda self, x: self.conv(x).type_as(x), id="to the type of an input that is not known"),
        pytest.param(lambda self, x: self.index.to(torch.float32), id="an index"),
    ],
)
def test_casts_that_stay(cast):
    assert check(RULE, model(cast, conv=conv(), index=torch.arange(8))).result.edits == ()


def test_a_cast_of_an_input_whose_type_is_known():
    original = model(lambda self, x: self.conv(x.float()), conv=conv())
    rewritten = rewrite(original, [RULE], example=(torch.randn(1, 8, 4, 4),))
    assert not any(node.target == "float" for node in rewritten.graph_module.graph.nodes)
    rewritten = rewrite(original, [RULE], example=(torch.ones(1, 8, 4, 4, dtype=torch.float64),))
    assert any(node.target == "float" for node in rewritten.graph_module.graph.nodes)
