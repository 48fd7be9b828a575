"""Permutations that are reshaped afterwards."""

import torch
from qdq_graphs import Graph, applied, lowered, places, run, steps_between, without
from torch import fx

from fxconv.targets.executorch.rules.permutations import permutations


def tokens() -> fx.GraphModule:
    graph = Graph()
    given = graph.layer()
    settings = given.args[1:3]
    turned = graph.quantized(graph.call(torch.permute, graph.read(given), (0, 2, 1, 3)), settings)
    return graph.done(graph.quantized(graph.call(torch.reshape, graph.read(turned), (2, 12, 96)), settings))


def test_without_it_the_reshape_is_float() -> None:
    assert places(tokens(), without(permutations))["view_copy"] == "float"


def test_all_is_int8_and_no_copy_is_left() -> None:
    content, found = lowered(tokens())
    assert found["view_copy"] == found["permute_copy"] == "int8" and found["delegates"] == "1"
    assert "float" not in found.values() and "portable" not in found.values()
    assert steps_between(tokens(), content, 0.05) <= 1
    assert torch.equal(run(applied(tokens())), run(tokens()))
