"""The order of values in memory that the delegate's operations are given."""

from contextlib import nullcontext

import pytest
import torch
from qdq_graphs import Graph, lowered, steps_between
from torch import fx

from fxconv.targets.executorch import lowering


def softmax() -> fx.GraphModule:
    graph = Graph()
    return graph.done(graph.call(torch.softmax, graph.read(graph.layer()), -1))


def test_a_softmax_behind_a_convolution_goes_along_the_last_dimension() -> None:
    module = softmax()
    content, found = lowered(module)
    assert (found["_softmax"], found["delegates"]) == ("float", "1")
    assert steps_between(module, content, 1e-5) == 0


def test_without_it_it_goes_along_the_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "own_orders", nullcontext)
    module = softmax()
    assert steps_between(module, lowered(module)[0], 1e-5) > 10_000
