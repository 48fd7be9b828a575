"""What nothing in a model reads is left out of its graph, unless it does more than give a value."""

import copy

import pytest
import torch
from passcheck import assert_same_results, conv, images, model
from torch import nn

from rewrites.tracing import trace

IMAGE = {"x": torch.empty(2, 8, 8, 8)}


def test_what_a_model_computes_in_vain_is_left_out():
    def forward(self, x):
        head = self.vain(x).relu() / 2
        head, _ = head.chunk(2, 1)
        return self.conv(x)

    original = model(forward, conv=conv(), vain=conv())
    graph_module, _ = trace(original, IMAGE)
    assert [node.op for node in graph_module.graph.nodes] == ["placeholder", "call_module", "output"]
    assert_same_results(copy.deepcopy(original), graph_module, [images()])


class Own(nn.Module):
    """What it does besides returning something cannot be told from outside."""

    def forward(self, x):
        if x.mean() > 1e9:
            raise ValueError
        return x * 2


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(lambda self, x: x.mul_(2), id="a method"),
        pytest.param(lambda self, x: torch.relu_(x), id="a function"),
        pytest.param(lambda self, x: x.view(-1).add_(1), id="a view"),
        pytest.param(lambda self, x: x.__setitem__((slice(None), 0), 0.0), id="items"),
        pytest.param(lambda self, x: torch.add(x, 1, out=x), id="out="),
        pytest.param(lambda self, x: nn.functional.relu(x, inplace=True), id="inplace="),
        pytest.param(lambda self, x: self.relu(x), id="a module in place"),
    ],
)
def test_what_writes_stays_whether_its_result_is_read_or_not(statement):
    def forward(self, x):
        x = self.conv(x)
        statement(self, x)
        return x

    original = model(forward, conv=conv(), relu=nn.ReLU(inplace=True))
    graph_module, _ = trace(original, IMAGE)
    assert_same_results(copy.deepcopy(original), graph_module, [images()])
    with torch.no_grad():
        assert not torch.equal(graph_module(*images()), original.conv(*images()))


def test_what_may_raise_stays():
    def forward(self, x):
        torch._assert(x.shape[1] == 8, "of 8 channels")
        self.own(x)
        return self.conv(x)

    graph_module, _ = trace(model(forward, conv=conv(), own=Own()), IMAGE)
    assert "own" in [node.target for node in graph_module.graph.nodes]


def test_a_size_that_only_a_dropped_branch_has_asked_for_goes_with_it():
    def forward(self, x):
        x = self.conv(x)
        x.view(x.shape[0], x.size(1), -1)
        return x

    graph_module, _ = trace(model(forward, conv=conv()), IMAGE)
    assert [node.op for node in graph_module.graph.nodes] == ["placeholder", "call_module", "output"]


def test_a_layer_that_is_left_out_is_in_no_checkpoint():
    graph_module, _ = trace(model(lambda self, x: (self.vain(x), self.conv(x))[1], conv=conv(), vain=conv()), IMAGE)
    assert {name.partition(".")[0] for name in graph_module.state_dict()} == {"conv"}
