"""Between which ends values lie."""

import math

import pytest
import torch
import torch.nn.functional as F
from passcheck import conv, images, model, traced
from torch import nn

from rewrites.intervals import interval
from rewrites.passes import ArithmeticToFunctional, FunctionalToModule

ANY = (-math.inf, math.inf)


def ends(forward, **parts):
    original = model(forward, conv=conv(), **parts)
    graph_module = traced(original, (FunctionalToModule(), ArithmeticToFunctional()))
    last = next(node for node in graph_module.graph.nodes if node.op == "output").all_input_nodes[0]
    return original, interval(graph_module, last)


@pytest.mark.parametrize(
    ("forward", "wanted"),
    [
        (lambda self, x: self.conv(x), ANY),
        (lambda self, x: self.conv(x).relu(), (0, math.inf)),
        (lambda self, x: F.relu6(self.conv(x)), (0, 6)),
        (lambda self, x: self.conv(x).clamp(-1, 2), (-1, 2)),
        (lambda self, x: self.conv(x).sigmoid() * 2 - 0.5, (-0.5, 1.5)),
        (lambda self, x: 1 - self.conv(x).tanh(), (0, 2)),
        (lambda self, x: self.conv(x).sigmoid() / -4, (-0.25, 0)),
        (lambda self, x: self.conv(x).relu() + x.sigmoid(), (0, math.inf)),
        (lambda self, x: F.relu(self.conv(x) + x), (0, math.inf)),
        (lambda self, x: self.conv(x).relu() + x, ANY),
        (lambda self, x: self.conv(x).tanh() * x.relu(), ANY),
        (lambda self, x: self.conv(x).tanh() * x.sigmoid(), (-1, 1)),
        (lambda self, x: torch.cat([x.sigmoid(), x.tanh()], 1), (-1, 1)),
        (lambda self, x: F.max_pool2d(F.relu6(self.conv(x)), 2).mean((2, 3)), (0, 6)),
        (lambda self, x: self.conv(x).abs().flatten(1)[:, 2:], (0, math.inf)),
        (lambda self, x: x.sigmoid() * self.weight, ANY),
        (lambda self, x: 0 * x, (0, 0)),
    ],
)
def test_ends(forward, wanted):
    original, found = ends(forward, weight=torch.ones(1, 8, 1, 1))
    assert found == wanted
    for seed in range(3):
        values = original(images(seed)[0] * 5)
        assert found[0] <= values.min() and values.max() <= found[1]


def test_what_is_written_into_is_anything():
    def forward(self, x):
        y = self.conv(x).relu()
        y.sub_(3)
        return y

    graph_module = traced(model(forward, conv=conv()), (FunctionalToModule(),))
    relu = next(node for node in graph_module.graph.nodes if node.name == "relu")
    assert interval(graph_module, relu) == ANY


def test_so_far_it_looks_and_no_farther():
    def forward(self, x):
        y = x.relu()
        for _ in range(100):
            y = y + y
        return y

    assert ends(forward)[1] == ANY


def test_a_capped_relu():
    assert ends(lambda self, x: self.act(x), act=nn.ReLU6())[1] == (0, 6)
