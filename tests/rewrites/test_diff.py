"""A graph as Python a person would write."""

import doctest

import pytest
import torch
import torch.nn.functional as F
from passcheck import conv, model, text, traced
from torch import nn

import rewrites.diff
import rewrites.naming
from rewrites.diff import function_name, graph_lines, unified


@pytest.mark.parametrize(
    ("forward", "line"),
    [
        (lambda self, x: x + 1, "add = x + 1"),
        (lambda self, x: 1 - x, "sub = 1 - x"),
        (lambda self, x: x @ x, "matmul = x @ x"),
        (lambda self, x: torch.flatten(x, start_dim=1), "flatten = torch.flatten(x, start_dim=1)"),
        (lambda self, x: F.normalize(x, 2.0, 1), "normalize = F.normalize(x, p=2.0, dim=1, eps=1e-12, out=None)"),
        (lambda self, x: x.mean((2, 3), keepdim=True), "mean = x.mean((2, 3), keepdim=True)"),
        (lambda self, x: x[:, 1:5:2, None], "getitem = x[:, 1:5:2, None]"),
        (lambda self, x: x[..., -1], "getitem = x[Ellipsis, -1]"),
        (lambda self, x: x.T, "getattr_1 = x.T"),
        (lambda self, x: self.conv(x), "conv = self.conv(x)  # Conv2d"),
        (lambda self, x: self.act(x), "act = self.act(x)  # ReLU()"),
        (lambda self, x: x.to(torch.float64), "to = x.to(torch.float64)"),
    ],
)
def test_line(forward, line):
    assert graph_lines(traced(model(forward, conv=conv(), act=nn.ReLU())))[1] == line


def test_a_computed_index():
    lines = graph_lines(traced(model(lambda self, x: x[:, : x.shape[1] // 2])))
    assert lines[1:] == text("""
        getattr_1 = x.shape
        getitem = getattr_1[1]
        floordiv = getitem // 2
        getitem_1 = x[:, :floordiv]
        return getitem_1
    """)


def test_an_augmented_assignment_is_two_statements():
    def forward(self, x):
        x += 1
        return x

    assert graph_lines(traced(model(forward)))[1] == "x += 1; iadd = x"


def test_inputs_parameters_and_outputs():
    def forward(self, x, y):
        return {"sum": x + self.weight, "pair": (x, y)}

    lines = graph_lines(traced(model(forward, weight=nn.Parameter(torch.ones(1)))))
    assert lines == text("""
        x: input
        y: input
        weight = self.weight
        add = x + weight
        return {'sum': add, 'pair': (x, y)}
    """)


@pytest.mark.parametrize(
    ("function", "name"),
    [(F.relu, "F.relu"), (torch.flatten, "torch.flatten"), (F.avg_pool2d, "F.avg_pool2d"), (text, "text")],
)
def test_function_name(function, name):
    assert function_name(function) == name


def test_unified():
    assert unified(["a", "b"], ["a", "b"], "nothing") == ""
    assert unified(["a", "b"], ["a", "c"], "change").splitlines() == [
        "--- before change",
        "+++ after change",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
    ]


@pytest.mark.parametrize("documented", [rewrites.diff, rewrites.naming], ids=lambda m: m.__name__)
def test_the_examples_in_the_docstrings(documented):
    found = doctest.testmod(documented)
    assert found.attempted > 0 and found.failed == 0
