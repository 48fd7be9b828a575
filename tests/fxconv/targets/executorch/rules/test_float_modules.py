"""Modules of arithmetic that stayed in float."""

import torch
from qdq_graphs import Graph, applied, lowered, run, without
from torch import fx

from fxconv.targets.executorch.rules.float_modules import float_modules
from rewrites import modules as m


def product() -> fx.GraphModule:
    graph = Graph()
    graph.root.add_module("product", m.MatMul())
    given = graph.read(graph.layer())
    return graph.done(graph.graph.call_module("product", (given, graph.read(graph.x))))


def test_without_it_a_product_is_not_seen_by_other_rules() -> None:
    assert lowered(product(), without(float_modules))[1]["expand_copy"] == "portable"


def test_it_is_the_operation_itself() -> None:
    assert torch.allclose(run(applied(product())), run(product()), atol=1e-5)
    found = lowered(product())[1]
    assert found["bmm"] == "float" and found["delegates"] == "1" and "portable" not in found.values()
