"""ReLUs and clamps: in the range, in the operation before, or of their own."""

import torch
import torch.nn.functional as F
from qdq_graphs import Graph, applied, lowered, places, run, steps_between, without
from torch import fx

from fxconv.targets.executorch.rules.clamps import clamps


def behind_product(function=F.relu, *arguments, settings=(0.05, 3)) -> fx.GraphModule:
    graph = Graph()
    given = graph.layer()
    product = graph.call(torch.mul, graph.read(graph.x), graph.read(given))
    return graph.done(graph.quantized(graph.call(function, product, *arguments), settings))


def behind_layer(function, *arguments, settings=(0.05, 4)) -> fx.GraphModule:
    graph = Graph()
    return graph.done(graph.quantized(graph.call(function, graph.convolution(), *arguments), settings))


def test_without_it_a_product_before_a_relu_is_float() -> None:
    assert places(behind_product(), without(clamps))["mul"] == "float"
    content, found = lowered(behind_product())
    assert found == {"convolution": "int8", "mul": "int8", "relu": "int8", "delegates": "1"}
    assert steps_between(behind_product(), content, 0.05) <= 1
    assert torch.equal(run(applied(behind_product())), run(behind_product()))


def test_a_relu_that_the_range_makes_is_taken_out() -> None:
    module = behind_product(settings=(0.05, -128))
    assert torch.equal(run(applied(module)), run(module))
    assert F.relu not in {node.target for node in applied(module).graph.nodes}


def test_a_relu6_at_the_end_of_a_range_is_taken_out() -> None:
    module = behind_layer(F.relu6, settings=(6 / 255, -128))
    assert torch.equal(run(applied(module)), run(module))
    assert F.relu6 not in {node.target for node in applied(module).graph.nodes}


def test_a_relu6_within_a_range_is_a_clamp_of_int8_values() -> None:
    module = behind_layer(F.relu6, settings=(0.05, 4))
    assert torch.equal(run(applied(module)), run(module))
    assert places(module)["hardtanh"] == "int8"


def test_a_relu_behind_a_layer_stays_part_of_it() -> None:
    module = behind_layer(F.relu)
    assert places(module) == {"convolution": "int8", "relu": "int8", "delegates": "1"}
