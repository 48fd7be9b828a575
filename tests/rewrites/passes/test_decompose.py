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
