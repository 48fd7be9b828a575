"""What the values of a graph are, and which of them share memory."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import conv, model, traced
from torch import nn

from rewrites.memory import aliases, changes_in_place, shared_arguments
from rewrites.values import callee, is_scalar, several_tensors, tensor_nodes, whole_numbers


def nodes(original: nn.Module):
    graph_module = traced(original)
    return graph_module, {node.name: node for node in graph_module.graph.nodes}


def test_tensors_and_numbers():
    def forward(self, x):
        size = x.size(0)
        height = x.shape[2] // 2
        return x.reshape(size, -1, height).mean(x.dim() - 2) * len(self.scales), x.dtype

    graph_module, _ = nodes(model(forward, scales=[1, 2]))
    assert {node.name for node in tensor_nodes(graph_module)} == {"x", "reshape", "mean", "mul"}


def test_what_a_node_calls():
    graph_module, by_name = nodes(model(lambda self, x: self.conv(F.relu(x)).mean(), conv=conv()))
    found = {name: callee(graph_module, node) for name, node in by_name.items()}
    assert found == {"x": None, "relu": F.relu, "conv": nn.Conv2d, "mean": torch.Tensor.mean, "output": None}


@pytest.mark.parametrize(("value", "scalar"), [(1, True), (0.5, True), (True, False), ("1", False), (None, False)])
def test_is_scalar(value, scalar):
    assert is_scalar(value) is scalar


def test_whole_numbers():
    def forward(self, x):
        index = x.argmax(1)
        half = index / 2
        shifted = index * 2 + 1
        mask = x > 0
        first, where = x.topk(2, 1)[0], x.max(1)[1]
        places, thirds = torch.arange(8, device=x.device), torch.arange(0, 1, 0.125, device=x.device)
        steps = torch.arange(8, dtype=x.dtype) + torch.arange(8, dtype=torch.float32, device=x.device)
        return (
            places,
            thirds,
            steps,
            half,
            shifted,
            mask,
            first,
            where,
            index.float(),
            x.to(torch.int32),
            index + 0.5,
            x + self.count,
        )

    graph_module, _ = nodes(model(forward, count=torch.arange(8)))
    found = {node.name for node in whole_numbers(graph_module)}
    assert found == {"argmax", "mul", "add", "gt", "getitem_1", "to", "count", "arange"}


def test_several_tensors():
    def forward(self, x):
        pieces = x.chunk(4, 1)
        return pieces[0], pieces[1:], x.unbind(0) + pieces, x[1:]

    graph_module, _ = nodes(model(forward))
    assert {node.name for node in several_tensors(graph_module)} == {"chunk", "getitem_1", "unbind", "add"}


@pytest.mark.parametrize(
    ("forward", "shares"),
    [
        pytest.param(lambda self, x: x.reshape(-1), True, id="reshape"),
        pytest.param(lambda self, x: x[0], True, id="index"),
        pytest.param(lambda self, x: x.T, True, id="attribute"),
        pytest.param(lambda self, x: torch.split(x, 2)[0], True, id="split"),
        pytest.param(lambda self, x: F.pixel_shuffle(x, 2), True, id="pixel shuffle of 1x1"),
        pytest.param(lambda self, x: x.contiguous(), True, id="contiguous"),
        pytest.param(lambda self, x: self.flatten(x), True, id="nn.Flatten"),
        pytest.param(lambda self, x: self.custom(x), True, id="a module nobody knows"),
        pytest.param(lambda self, x: x.relu_(), True, id="a change in place"),
        pytest.param(lambda self, x: x + 1, False, id="a sum"),
        pytest.param(lambda self, x: F.relu(x), False, id="relu"),
        pytest.param(lambda self, x: self.conv(x), False, id="a convolution"),
        pytest.param(lambda self, x: torch.cat([x]), False, id="a concatenation"),
        pytest.param(lambda self, x: F.interpolate(x, scale_factor=2), False, id="interpolation"),
        pytest.param(lambda self, x: x.clone(), False, id="a clone"),
        pytest.param(lambda self, x: x.max(), False, id="a reduction whose out= form returns its argument"),
    ],
)
def test_what_may_share_memory_with_its_input(forward, shares):
    class Custom(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else x + 1

    graph_module, _ = nodes(model(forward, conv=conv(), flatten=nn.Flatten(), custom=Custom()))
    first = list(graph_module.graph.nodes)[1]
    assert (shared_arguments(graph_module, first) != []) is shares


def test_aliases_upstream_and_downstream():
    def forward(self, x):
        base = self.conv(x)
        left, right = base.chunk(2, 1)
        copy = left + 1
        return right.flatten(1), copy

    graph_module, by_name = nodes(model(forward, conv=conv()))
    found = aliases(graph_module, by_name["getitem"], tensor_nodes(graph_module), by_name["getitem"])
    assert {node.name for node in found} == {"conv", "chunk", "getitem_1", "flatten"}


@pytest.mark.parametrize(
    ("forward", "changes"),
    [
        (lambda self, x: F.relu(x, True), True),
        (lambda self, x: F.relu(x, False), False),
        (lambda self, x: x.add_(1), True),
        (lambda self, x: torch.sigmoid(x, out=x), True),
        (lambda self, x: self.inplace(x), True),
        (lambda self, x: self.act(x), False),
        (lambda self, x: x.add(1), False),
    ],
)
def test_changes_in_place(forward, changes):
    graph_module, _ = nodes(model(forward, act=nn.ReLU(), inplace=nn.ReLU(True)))
    assert changes_in_place(graph_module, list(graph_module.graph.nodes)[1]) is changes
