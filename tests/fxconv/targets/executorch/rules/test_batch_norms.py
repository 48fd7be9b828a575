"""Batch norms of their own as depthwise convolutions."""

import torch
import torch.nn.functional as F
from qdq_graphs import Graph, applied, lowered, places, run, steps_between, without
from torch import fx

from fxconv.targets.executorch.rules.batch_norms import batch_norms


def normed(relu: bool = False) -> fx.GraphModule:
    graph = Graph()
    given = graph.layer()
    weight = torch.tensor([1.0, -2.0, 0.0, 0.5, 1.5, 1.0, 0.1, 3.0])
    held = [torch.linspace(-1, 1, 8), torch.linspace(0.5, 2, 8), weight, torch.linspace(0, 1, 8)]
    constants = [graph.constant(value) for value in held]
    result = graph.call(F.batch_norm, graph.read(given), *constants, False, 0.0, 1e-5)
    return graph.done(graph.quantized(graph.call(F.relu, result) if relu else result, (0.1, 3)))


def test_without_it_a_norm_is_float() -> None:
    assert "float" in places(normed(), without(batch_norms)).values()


def test_a_norm_is_int8_and_so_is_its_relu() -> None:
    for module in (normed(), normed(relu=True)):
        assert (run(applied(module)) - run(module)).abs().max() <= 0.1001
        content, found = lowered(module)
        assert set(found.values()) == {"int8", "1"}
        assert steps_between(module, content, 0.1) <= 1
