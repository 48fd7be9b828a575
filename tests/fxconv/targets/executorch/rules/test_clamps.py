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


def clamped(*arguments: object, settings: tuple[float, int], **named: object) -> fx.GraphModule:
    """A clamp of a layer's value, which goes from -6.6 to 6.15."""
    graph = Graph()
    return graph.done(
        graph.quantized(graph.call(torch.clamp, graph.read(graph.layer()), *arguments, **named), settings)
    )


def test_an_end_outside_of_what_is_clamped_is_held_in_the_result_s_range() -> None:
    for module in (
        clamped(9.0, settings=(9 / 255, -128)),
        clamped(7.0, 9.0, settings=(0.05, -100)),
        clamped(None, -8.0, settings=(8 / 255, 127)),
    ):
        content, found = lowered(module)
        assert steps_between(module, content, 0.05) <= 1
        assert found["delegates"] == "1"


def test_a_range_that_ends_just_before_an_end_is_no_clamp_of_nothing() -> None:
    least = 3.3
    scale = float(torch.tensor(least) / 255)
    assert (127 + 128) * scale < least, "as float numbers have it"
    module = clamped(least, settings=(scale, -128))
    ends = [node.args[1:] for node in applied(module).graph.nodes if node.target is F.hardtanh]
    assert all(low <= high for low, high in ends)
    assert steps_between(module, lowered(module)[0], scale) <= 1


def test_a_clamp_by_the_values_of_a_tensor_stays_as_it_is() -> None:
    graph = Graph()
    least = graph.constant(torch.full((1, 8, 1, 1), 0.1))
    clamp = graph.call(torch.clamp, graph.read(graph.layer()), min=least)
    module = graph.done(graph.quantized(clamp, (0.024, -128)))
    ruled = applied(module)
    assert torch.equal(run(ruled), run(module))
    assert torch.clamp in {node.target for node in ruled.graph.nodes}
    assert steps_between(module, lowered(module)[0], 0.024) <= 1
