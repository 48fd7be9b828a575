"""Products of matrices, and attention."""

import torch
import torch.nn.functional as F
from qdq_graphs import IMAGES, Graph, applied, lowered, places, run, without
from torch import fx

from fxconv.targets.executorch.rules.matrix_products import matrix_products


def product() -> fx.GraphModule:
    graph = Graph()
    given = graph.layer()
    return graph.done(graph.quantized(graph.call(torch.matmul, graph.read(graph.x), graph.read(given)), (0.5, 3)))


def attention(*rest, **named) -> fx.GraphModule:
    graph = Graph()
    read = [graph.read(graph.x) for _ in range(3)]
    return graph.done(graph.quantized(graph.call(F.scaled_dot_product_attention, *read, *rest, **named)))


def test_without_it_products_copy_outside_of_the_delegate() -> None:
    assert places(product(), without(matrix_products))["expand_copy"] == "portable"
    assert "portable" in places(attention(), without(matrix_products)).values()


def test_with_it_all_is_in_one_delegate() -> None:
    for module in (product(), attention(), attention(scale=0.5)):
        assert torch.allclose(run(applied(module)), run(module), atol=0.5001)
        found = lowered(module)[1]
        assert found["delegates"] == "1" and "portable" not in found.values()
        assert found["bmm"] == "float"


def test_a_causal_one_stays() -> None:
    module = attention(is_causal=True)
    assert torch.equal(run(applied(module)), run(module))
    assert IMAGES.shape == run(module).shape
