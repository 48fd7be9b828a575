"""Stacks as concatenations."""

import torch
from qdq_graphs import Graph, applied, lowered, places, run, steps_between, without
from torch import fx

from fxconv.targets.executorch.rules.stacks import stacks


def stacked() -> fx.GraphModule:
    graph = Graph()
    given = graph.layer()
    return graph.done(graph.quantized(graph.call(torch.stack, [graph.read(graph.x), graph.read(given)], 2)))


def test_without_it_a_stack_is_float() -> None:
    assert places(stacked(), without(stacks))["cat"] == "float"


def test_a_stack_is_int8() -> None:
    content, found = lowered(stacked())
    assert found["cat"] == "int8" and found["view_copy"] == "int8" and found["delegates"] == "1"
    assert steps_between(stacked(), content, 0.03) <= 1
    assert torch.equal(run(applied(stacked())), run(stacked()))
