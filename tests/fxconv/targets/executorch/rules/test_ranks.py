"""Values of more than six dimensions between two reshapes."""

import pytest
import torch
from qdq_graphs import Graph, applied, lowered, places, run, steps_between, without
from torch import fx

from fxconv.errors import ConversionError
from fxconv.targets.executorch.rules.ranks import ranks

SHAPE, ORDER = (2, 2, 4, 3, 4, 3, 4, 1), (0, 1, 3, 5, 2, 4, 6, 7)


def windows() -> fx.GraphModule:
    graph = Graph()
    given = graph.layer()
    settings = given.args[1:3]
    split = graph.quantized(graph.call(torch.reshape, graph.read(given), SHAPE), settings)
    turned = graph.quantized(graph.call(torch.permute, graph.read(split), ORDER), settings)
    return graph.done(graph.quantized(graph.call(torch.reshape, graph.read(turned), (2, 18, 64)), settings))


def float_windows() -> fx.GraphModule:
    graph = Graph()
    split = graph.call(torch.reshape, graph.read(graph.layer()), SHAPE)
    turned = graph.call(torch.clone, graph.call(torch.permute, split, ORDER))
    return graph.done(graph.call(torch.reshape, turned, (2, 18, 64)))


def test_without_it_nothing_holds_the_int8_values() -> None:
    with pytest.raises(
        ConversionError,
        match=r"the delegate leaves an operation outside \(n2, n3, n4\), and the runtime has no operator for ",
    ):
        lowered(windows(), without(ranks))


def test_without_it_float_values_are_moved_outside_of_the_delegate() -> None:
    assert places(float_windows(), without(ranks))["permute_copy"] == "portable"


def test_all_is_int8_in_one_delegate() -> None:
    content, found = lowered(windows())
    assert found["permute_copy"] == found["view_copy"] == "int8" and found["delegates"] == "1"
    assert "float" not in found.values() and "portable" not in found.values()
    assert steps_between(windows(), content, 0.05) <= 1
    assert torch.equal(run(applied(windows())), run(windows()))


def test_float_values_are_moved_in_the_delegate() -> None:
    _, found = lowered(float_windows())
    assert found["permute_copy"] == "float" and found["delegates"] == "1"
    assert torch.equal(run(applied(float_windows())), run(float_windows()))


def test_arithmetic_with_so_many_dimensions_is_refused_by_name() -> None:
    graph = Graph()
    given = graph.layer()
    settings = given.args[1:3]
    split = graph.quantized(graph.call(torch.reshape, graph.read(given), SHAPE), settings)
    added = graph.quantized(graph.call(torch.neg, graph.read(split)), settings)
    done = graph.done(graph.quantized(graph.call(torch.reshape, graph.read(added), (2, 18, 64)), settings))
    with pytest.raises(ConversionError, match="computes with int8 values of 8 dimensions, and XNNPACK holds 6 at most"):
        applied(done)
