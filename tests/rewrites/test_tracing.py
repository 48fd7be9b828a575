"""Tracing that keeps what eager mode does, and gives up on no more than it must."""

import copy

import pytest
import torch
from passcheck import assert_same_results, conv, images, model
from torch import nn

from rewrites import UntraceableError, rewrite
from rewrites.diff import graph_lines
from rewrites.tracing import trace


class Branch(nn.Module):
    """Does not trace: it looks at values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        if x.mean() > 100:
            return x
        return self.conv(x)


def test_the_model_keeps_its_modules():
    original = model(lambda self, x: self.conv(x), conv=conv())
    graph_module, leaves = trace(original)
    assert leaves == ()
    assert graph_module.conv is original.conv
    assert graph_module.meta["classes"] == {"": type(original), "conv": nn.Conv2d}


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        (lambda x: x.__iadd__(1), "x += 1; iadd = x"),
        (lambda x: x.__itruediv__(2), "x /= 2; itruediv = x"),
        (lambda x: x.__ifloordiv__(2), "x //= 2; ifloordiv = x"),
        (lambda x: x.__ipow__(2), "x **= 2; ipow = x"),
    ],
)
def test_augmented_assignments_are_recorded_as_such(statement, line):
    graph_module, _ = trace(model(lambda self, x: statement(x)))
    assert graph_lines(graph_module)[1] == line


def test_an_attribute_is_changed_in_place_too():
    def forward(self, x):
        x = self.conv(x)
        turned = x.mT
        turned += 1
        return x

    original = model(forward, conv=conv())
    assert_same_results(copy.deepcopy(original), trace(original)[0], [images()])


def test_the_smallest_module_becomes_the_leaf():
    outer = model(lambda self, x: self.act(self.branch(x)), branch=Branch(), act=nn.ReLU())
    original = model(lambda self, x: self.conv(self.outer(x)), outer=outer, conv=conv())
    graph_module, leaves = trace(original)
    assert [leaf.path for leaf in leaves] == ["outer.branch"]
    assert graph_lines(graph_module)[1] == "outer_branch = self.outer.branch(x)  # Branch()"
    assert_same_results(copy.deepcopy(original), graph_module, [images()])


def test_several_leaves():
    original = model(lambda self, x: self.second(self.first(x)), first=Branch(), second=Branch())
    _, leaves = trace(original)
    assert [leaf.path for leaf in leaves] == ["first", "second"]
    assert all("if x.mean() > 100:" in leaf.reason for leaf in leaves)


def test_a_leaf_whose_result_is_not_traced_takes_its_caller_along():
    class Pair(nn.Module):
        def forward(self, x):
            return [x] if x.mean() > 100 else [x, x]

    caller = model(lambda self, x: sum(list(self.pair(x))), pair=Pair())
    _, leaves = trace(model(lambda self, x: self.caller(x) + 1, caller=caller))
    assert "caller" in [leaf.path for leaf in leaves]


def test_items_assigned_in_a_tensor_made_in_the_forward():
    # The tensor would be made once, while tracing, and keep what earlier calls wrote into it.
    class Canvas(nn.Module):
        def forward(self, x):
            canvas = torch.zeros(2, 8, 8, 8)
            canvas[:, :4] = x[:, :4]
            return canvas

    original = model(lambda self, x: self.conv(self.canvas(x)), canvas=Canvas(), conv=conv())
    graph_module, (leaf,) = trace(original)
    assert leaf.path == "canvas"
    assert leaf.reason.endswith("items are assigned in a tensor that does not come from the input")
    assert_same_results(copy.deepcopy(original), graph_module, [images(), images(seed=2)])


def test_a_parameter_is_read_by_one_node():
    original = model(lambda self, x: x * self.scale + self.scale, scale=nn.Parameter(torch.ones(1)))
    assert [line for line in graph_lines(trace(original)[0]) if "self." in line] == ["scale = self.scale"]


def test_an_error_of_the_models_own_is_told_with_its_line():
    with pytest.raises(UntraceableError, match=r"test_tracing\.py:\d+ .*'Model' object has no attribute 'missing'"):
        trace(model(lambda self, x: self.missing(x)))


def test_annotations_that_are_text_are_dropped():
    # `from __future__ import annotations` makes every annotation text; a script could not look it up elsewhere.
    def forward(self, x):
        return x * 2

    forward.__annotations__ = {"x": "Tensor", "return": "Tensor"}
    graph_module, _ = trace(model(forward))
    assert {node.type for node in graph_module.graph.nodes} == {None}
    assert torch.equal(torch.jit.script(graph_module)(torch.ones(1)), torch.full((1,), 2.0))


def test_the_line_that_stopped_the_tracer_is_named_by_its_file():
    _, (leaf,) = trace(model(lambda self, x: self.branch(x), branch=Branch()))
    assert leaf.reason.startswith("does not trace: ")
    place = leaf.reason.removeprefix("does not trace: ").partition(":")[0]
    assert place.endswith("test_tracing.py") and not place.startswith("/")


def test_an_optional_argument_keeps_its_default():
    def forward(self, x, mask=None, scale=2.0):
        return x * scale if mask is None else x * mask

    original = model(forward)
    graph_module, leaves = trace(original)
    assert leaves == ()
    assert [node.op for node in graph_module.graph.nodes] == ["placeholder", "call_function", "output"]
    assert_same_results(copy.deepcopy(original), graph_module, [images()])


def test_stubs_stay_so_that_a_second_rewriting_changes_nothing():
    once = rewrite(nn.Sequential(conv(), nn.Mish(), conv()))
    again = rewrite(once.graph_module)
    assert [edit for result in again.results for edit in result.edits] == []
    assert torch.equal(again.graph_module(*images()), once.graph_module(*images()))
