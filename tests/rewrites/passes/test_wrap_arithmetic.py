"""The known slow form of arithmetic: dequantize, compute in float, quantize."""

import copy

import pytest
import torch
from passcheck import assert_same_results, check, conv, images, model, text
from torch import nn

from rewrites import WRAPPED_PASSES, rewrite
from rewrites.passes import WrapArithmetic

RULE = WrapArithmetic()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.conv(x), id="no arithmetic"),
        pytest.param(lambda self, x: x.reshape(x.size(0) * 2, -1), id="sizes are multiplied"),
    ],
)
def test_left_as_it_is(forward):
    assert check(RULE, model(forward, conv=conv())).result.edits == ()


@pytest.mark.parametrize(
    ("forward", "line"),
    [
        (lambda self, x: self.conv(x) + x, "add = self.add(conv, x)  # WrappedBinary()"),
        (lambda self, x: self.conv(x) * x, "mul = self.mul(conv, x)  # WrappedBinary()"),
        (lambda self, x: self.conv(x) @ x, "matmul = self.matmul(conv, x)  # WrappedBinary()"),
        (lambda self, x: self.conv(x) + 1, "add = self.add_scalar(conv)  # WrappedUnary()"),
        (lambda self, x: self.conv(x) / 4, "truediv = self.div_scalar(conv)  # WrappedUnary()"),
        (lambda self, x: torch.cat([self.conv(x), x], 1), "cat = self.cat([conv, x])  # WrappedCat()"),
    ],
)
def test_wraps(forward, line):
    assert check(RULE, model(forward, conv=conv())).lines[2] == line


def test_diff():
    assert check(RULE, model(lambda self, x: self.conv(x) + x, conv=conv())).changes == text("""
        -add = conv + x
        +add = self.add(conv, x)  # WrappedBinary()
    """)


def test_refuses_what_the_other_arithmetic_pass_refuses():
    checked = check(RULE, model(lambda self, x: self.conv(x) / x, conv=conv()))
    assert checked.skips == {"truediv": "dividing tensors has no int8 kernel"}


def test_subtraction_is_the_addition_of_what_is_negated():
    checked = check(RULE, model(lambda self, x: 2 - (self.conv(x) - x), conv=conv()))
    assert checked.changes == text("""
        -sub = conv - x
        -sub_1 = 2 - sub
        +neg = self.neg(x)  # WrappedUnary()
        +sub = self.sub(conv, neg)  # WrappedBinary()
        +neg_1 = self.neg_1(sub)  # WrappedUnary()
        +sub_1 = self.rsub_scalar(neg_1)  # WrappedUnary()
    """)


def test_in_place_of_the_default_pass():
    original = model(lambda self, x: self.act(self.conv(x) + x) * 2, conv=conv(), act=nn.ReLU())
    rewritten = rewrite(original, WRAPPED_PASSES)
    assert_same_results(copy.deepcopy(original), rewritten.graph_module, [images(), images(seed=2)])
    assert rewritten.islands == ()
    assert [result.name for result in rewritten.results].count("wrap-arithmetic") == 1
