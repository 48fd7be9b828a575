"""The checks of a pass find what they are there to find."""

import copy
import operator

import pytest
import torch
from torch import nn

from rewrites import RewritePass, passes_with
from rewrites.modules import Add, Mul
from rewrites.testing import assert_same_results, check, images


class Square(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.conv(x) ** 2


class Own(RewritePass):
    """A pass of somebody's own."""

    name = "own"

    def run(self, editor):
        for node in editor.nodes():
            if node.target is operator.pow:
                self.change(editor, node, node.args[0])

    def change(self, editor, node, value):
        editor.replace_with_module(node, Mul(), (value, value), "square", "a product has a kernel")

    @staticmethod
    def example():
        return Square()


class Doubling(Own):
    def change(self, editor, node, value):
        editor.replace_with_module(node, Add(), (value, value), "square", "2 x is like x x")


class Restless(Own):
    def change(self, editor, node, value):
        editor.retarget(node, node.op, node.target, (value, 2), {}, "it may well be done twice")


class Nudging(Restless):
    def change(self, editor, node, value):
        editor.retarget(node, node.op, node.target, (value, node.args[1] * 1.0), {}, "ever again")


class Secretive(Own):
    def change(self, editor, node, value):
        node.target, node.args = operator.mul, (value, value)


class Forgetful(Own):
    def change(self, editor, node, value):
        super().change(editor, node, value)
        editor.graph_module.conv = copy.deepcopy(editor.graph_module.conv)


def test_what_a_pass_of_ones_own_did():
    checked = check(Own(), Square())
    assert checked.changes == ["-pow_1 = conv ** 2", "+pow_1 = self.square(conv, conv)  # Mul()"]
    assert checked.skips == {}
    assert checked.lines == ("x: input", "conv = self.conv(x)  # Conv2d", checked.changes[1][1:], "return pow_1")
    assert [result.name for result in checked.whole.results] == [rule.name for rule in passes_with(Own())]
    assert checked.whole.islands == ()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Doubling(), "call 1 gives other values"),
        (Restless(), "edits are reported exactly when the graph changed"),
        (Nudging(), "a second run changes nothing"),
        (Secretive(), "edits are reported exactly when the graph changed"),
        (Forgetful(), 'the original checkpoint does not load; .*Missing key.*: "conv.weight"'),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_broken_promise_is_named(rule, words):
    with pytest.raises(AssertionError, match=words):
        check(rule, Square())


@pytest.mark.parametrize(
    ("original", "changed", "words"),
    [
        (nn.Identity(), nn.Flatten(), r"call 1 gives \[2, 512\], not \[2, 8, 8, 8\]"),
        (nn.Identity(), nn.ReLU(), "call 1 gives other values"),
    ],
)
def test_results_are_compared(original, changed, words):
    assert_same_results(original, original, [images(), images(2)])
    with pytest.raises(AssertionError, match=words):
        assert_same_results(original, changed, [images()])


def test_a_tolerance_is_a_share_of_the_largest_magnitude():
    class Near(nn.Module):
        def forward(self, x):
            return x * (1 + 1e-4)

    x = (torch.tensor([-100.0, 1.0]),)
    assert_same_results(nn.Identity(), Near(), [x], tolerance=2e-4)
    with pytest.raises(AssertionError, match=r"call 1 is off by 0.01, more than 0.005"):
        assert_same_results(nn.Identity(), Near(), [x], tolerance=5e-5)
