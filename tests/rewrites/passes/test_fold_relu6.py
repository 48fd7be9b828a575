"""ReLU6 behind something with a range becomes the upper end of that range; elsewhere it runs in float."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import check, conv, images, model, text
from torch import nn

from rewrites.passes import ArithmeticToFunctional, FoldReLU6, FunctionalToModule, OutOfPlace

RULE = FoldReLU6()


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(nn.ReLU(), id="a ReLU has no cap"),
        pytest.param(nn.Hardtanh(-1, 1), id="a clamp that starts below zero"),
        pytest.param(nn.Hardswish(), id="hardswish has a kernel"),
    ],
)
def test_left_as_it_is(act):
    checked = check(RULE, model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=act))
    assert checked.result.edits == () and checked.skips == {}


@pytest.mark.parametrize(
    ("forward", "before"),
    [
        pytest.param(lambda self, y: self.act(y), (), id="module"),
        pytest.param(lambda self, y: self.hardtanh(y), (), id="hardtanh from 0 to 6"),
        pytest.param(lambda self, y: self.inplace(y), (OutOfPlace(),), id="module in place"),
        pytest.param(lambda self, y: F.relu6(y), (FunctionalToModule(),), id="functional"),
        pytest.param(lambda self, y: F.relu6(y, True), (OutOfPlace(), FunctionalToModule()), id="functional in place"),
        pytest.param(lambda self, y: y.clamp(0, 6), (FunctionalToModule(),), id="clamp"),
        pytest.param(lambda self, y: y.clamp_(0.0, 6.0), (OutOfPlace(), FunctionalToModule()), id="clamp in place"),
    ],
)
def test_every_way_to_write_it(forward, before):
    original = model(
        lambda self, x: forward(self, self.conv(x)),
        conv=conv(), act=nn.ReLU6(), hardtanh=nn.Hardtanh(0, 6), inplace=nn.ReLU6(inplace=True),
    )  # fmt: skip
    checked = check(RULE, original, before=before)
    assert checked.lines[2].endswith("(conv)  # CappedReLU(cap=6)")
    assert checked.whole.islands == ()


def test_another_cap():
    checked = check(RULE, model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=nn.Hardtanh(0, 1.5)))
    assert checked.lines[2] == "act = self.act(conv)  # CappedReLU(cap=1.5)"


def test_diff():
    original = model(lambda self, x: self.act(self.bn(self.conv(x))), conv=conv(), bn=nn.BatchNorm2d(8), act=nn.ReLU6())
    assert check(RULE, original).changes == text("""
        -act = self.act(bn)  # ReLU6()
        +act = self.act(bn)  # CappedReLU(cap=6)
    """)


def _bn1d_model():
    return model(
        lambda self, x: self.act(self.bn(self.conv(x.flatten(2)))),
        conv=nn.Conv1d(8, 8, 3), bn=nn.BatchNorm1d(8), act=nn.ReLU6(),
    )  # fmt: skip


@pytest.mark.parametrize(
    "original",
    [
        pytest.param(lambda: model(lambda self, x: self.act(self.up(x)), up=conv(), act=nn.ReLU6()), id="convolution"),
        pytest.param(
            lambda: model(lambda self, x: self.act(self.up(x)), up=nn.BatchNorm2d(8), act=nn.ReLU6()),
            id="batch norm alone",
        ),
        pytest.param(
            lambda: model(lambda self, x: self.act(self.up(x)), up=nn.Linear(8, 4), act=nn.ReLU6()), id="linear"
        ),
        pytest.param(_bn1d_model, id="1-D convolution and batch norm"),
    ],
)
def test_producers(original):
    checked = check(RULE, original())
    assert any(line.endswith("# CappedReLU(cap=6)") for line in checked.lines)
    assert checked.skips == {}


def test_addition():
    original = model(lambda self, x: self.act(self.conv(x) + x), conv=conv(), act=nn.ReLU6())
    checked = check(RULE, original, before=(ArithmeticToFunctional(),))
    assert checked.changes == text("""
        -add = self.add(conv, x)  # Add()
        -act = self.act(add)  # ReLU6()
        +act = self.add_relu(conv, x)  # AddReLU()
    """)
    assert checked.graph_module(*images(shape=(2, 8, 8, 8))).max() == 6


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (
            lambda self, x: self.act(self.pool(self.conv(x))),
            "it does not follow a convolution, batch norm, linear layer or addition whose range could be capped",
        ),
        (
            lambda self, x: self.act(x),
            "it does not follow a convolution, batch norm, linear layer or addition whose range could be capped",
        ),
        (
            lambda self, x: self.act(self.transposed(x)),
            "it does not follow a convolution, batch norm, linear layer or addition whose range could be capped",
        ),
        (
            lambda self, x: self.act(self.conv(self.conv(x))),
            "conv is called 2 times and is not fused",
        ),
    ],
    ids=["max pool", "input", "transposed convolution", "shared convolution"],
)
def test_refuses(forward, reason):
    original = model(forward, conv=conv(), pool=nn.MaxPool2d(2), transposed=nn.ConvTranspose2d(8, 8, 1), act=nn.ReLU6())
    checked = check(RULE, original)
    assert checked.skips == {"act": reason}
    # What is not folded must not run in int8, where the clamp scrambles channels_last.
    assert any("act" in island.nodes for island in checked.whole.islands)


def test_refuses_a_producer_that_is_read_elsewhere():
    def forward(self, x):
        y = self.conv(x)
        return self.act(y) + y

    checked = check(RULE, model(forward, conv=conv(), act=nn.ReLU6()))
    assert checked.skips == {"act": "conv is also read without the clamp, so its range cannot be capped"}


def test_refuses_an_addition_before_a_change_in_place():
    def forward(self, x):
        y = self.conv(x)
        flat = torch.einsum("nchw->nhwc", y)
        total = y + x
        flat.add_(1)
        return self.act(total) + y

    checked = check(RULE, model(forward, conv=conv(), act=nn.ReLU6()), before=(OutOfPlace(), ArithmeticToFunctional()))
    assert checked.skips == {"act": "something is changed in place between add and it, so the two stay apart"}
