"""Modules of arithmetic that stayed in float."""

import torch
from qdq_graphs import Graph, applied, lowered, run, without
from torch import fx, nn

from fxconv.targets.qdq.rules.float_modules import float_modules
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


def averaged() -> fx.GraphModule:
    graph = Graph()
    graph.root.add_module("average", nn.AdaptiveAvgPool2d(1))
    turned = graph.call(torch.permute, graph.read(graph.layer()), (0, 3, 1, 2))
    return graph.done(graph.graph.call_module("average", (turned,)))


def test_an_average_over_a_permuted_image_is_a_mean_in_the_delegate() -> None:
    assert lowered(averaged(), without(float_modules))[1]["as_strided_copy"] == "portable"
    assert torch.allclose(run(applied(averaged())), run(averaged()), atol=1e-5)
    found = lowered(averaged())[1]
    assert found["mean"] == "float" and found["delegates"] == "1" and "portable" not in found.values()
