"""Concatenations of one tensor."""

import torch
from qdq_graphs import OUTPUT, Graph, applied, lowered, places, run, steps_between, without
from torch import fx

from fxconv.targets.executorch.rules.single_concatenations import single_concatenations


def joined(count: int = 1) -> fx.GraphModule:
    graph = Graph()
    layers = [graph.layer() for _ in range(count)]
    together = graph.quantized(graph.call(torch.cat, [graph.read(layer) for layer in layers], 1), (0.05, 4))
    return graph.done(graph.quantized(graph.call(torch.mean, graph.read(together), (2, 3)), OUTPUT))


def test_without_it_one_tensor_is_copied_outside_of_the_delegate() -> None:
    found = places(joined(), without(single_concatenations))
    assert found["cat"] == "portable" and found["delegates"] == "2"


def test_one_tensor_is_itself() -> None:
    content, found = lowered(joined())
    assert "cat" not in found and found["delegates"] == "1"
    assert steps_between(joined(), content, 0.03) <= 1
    assert torch.equal(run(applied(joined())), run(joined()))


def test_two_are_joined() -> None:
    assert torch.cat in {node.target for node in applied(joined(2)).graph.nodes}
