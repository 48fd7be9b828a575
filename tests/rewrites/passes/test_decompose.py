"""SiLU becomes x * sigmoid(x), within the declared tolerance."""

import pytest
import torch.nn.functional as F
from passcheck import check, conv, model, text
from torch import nn

from rewrites.passes import Decompose, FunctionalToModule, OutOfPlace

RULE = Decompose()


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(nn.ReLU(), id="relu has a kernel"),
        pytest.param(nn.Hardswish(), id="so has hardswish"),
        pytest.param(nn.Mish(), id="mish has no exact equal"),
    ],
)
def test_left_as_it_is(act):
    checked = check(RULE, model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=act))
    assert checked.result.edits == ()


def test_module():
    checked = check(RULE, model(lambda self, x: self.act(self.conv(x)), conv=conv(), act=nn.SiLU()))
    assert checked.changes == text("""
        -act = self.act(conv)  # SiLU()
        +sigmoid = self.sigmoid(conv)  # Sigmoid()
        +act = self.silu(conv, sigmoid)  # Mul()
    """)
    assert checked.whole.islands == ()
    assert checked.whole.tolerance == RULE.tolerance == 1e-5


@pytest.mark.parametrize("inplace", [False, True])
def test_function(inplace):
    original = model(lambda self, x: F.silu(self.conv(x), inplace), conv=conv())
    checked = check(RULE, original, before=(OutOfPlace(), FunctionalToModule()))
    assert checked.lines[2:4] == (
        "sigmoid = self.sigmoid(conv)  # Sigmoid()",
        "silu = self.silu_1(conv, sigmoid)  # Mul()",
    )


def test_each_call_gets_its_own():
    original = model(lambda self, x: self.act(self.conv(self.act(x))), conv=conv(), act=nn.SiLU())
    checked = check(RULE, original)
    assert [line.split("#")[1].strip() for line in checked.lines if "#" in line] == [
        "Sigmoid()", "Mul()", "Conv2d", "Sigmoid()", "Mul()",
    ]  # fmt: skip


def test_refuses_what_changes_its_input():
    def forward(self, x):
        y = self.conv(x)
        self.act(y.view(2, -1))
        return y * 2

    checked = check(RULE, model(forward, conv=conv(), act=nn.SiLU(inplace=True)))
    assert checked.skips == {"act": "it changes its input in place; the product would not"}


def pool(*settings: object, **named: object) -> nn.Module:
    return model(lambda self, x: self.pool(self.conv(x)), conv=conv(), pool=nn.MaxPool2d(*settings, **named))


@pytest.mark.parametrize(
    "original",
    [
        pytest.param(pool(2, 2), id="a window of four"),
        pytest.param(pool((1, 2), 2), id="a window of two"),
        pytest.param(model(lambda self, x: self.pool(x), pool=nn.AvgPool2d(1, 2)), id="an average"),
        pytest.param(pool(1, 2, return_indices=True), id="indices too"),
    ],
)
def test_pools_left_as_they_are(original):
    assert check(RULE, original).result.edits == ()


@pytest.mark.parametrize(
    ("original", "index"),
    [
        (pool(1, 2), ":, :, ::2, ::2"),
        (pool((1, 1), (2, 4)), ":, :, ::2, ::4"),
        (pool(1, 3), ":, :, ::3, ::3"),
        (pool(1), ":, :, ::1, ::1"),
        (pool(1, 3, ceil_mode=True), ":, :, ::3, ::3"),
        (pool(1, 2, dilation=3), ":, :, ::2, ::2"),
        (pool(1, 5, ceil_mode=True), ":, :, ::5, ::5"),
    ],
    ids=str,
)
def test_a_max_pool_over_single_values(original, index):
    checked = check(RULE, original)
    assert checked.changes == [f"-pool = self.pool(conv)  # {checked.changes[0].partition('# ')[2]}",
                               f"+pool = conv[{index}]"]  # fmt: skip
    assert checked.result.edits[0].reason.startswith("the engine refuses 1x1 pooling")
    assert checked.whole.islands == ()


def test_the_last_level_of_a_feature_pyramid():
    checked = check(RULE, model(lambda self, x: F.max_pool2d(self.conv(x), 1, 2, 0), conv=conv()),
                    before=(FunctionalToModule(),))  # fmt: skip
    assert checked.changes[1] == "+max_pool2d = conv[:, :, ::2, ::2]"
