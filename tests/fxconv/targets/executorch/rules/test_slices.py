"""Chunks, members, places and steps of a tensor as slices."""

import copy
import operator

import pytest
import torch
from qdq_graphs import IMAGES, Graph, applied, lowered, places, run, single, steps_between, without
from torch import Tensor, fx

from fxconv.targets.executorch.rules import RULES
from fxconv.targets.executorch.rules.slices import slices
from fxconv.targets.qdq.ruling import apply_rules


def chunks(function=torch.chunk, *arguments) -> fx.GraphModule:
    graph = Graph()
    given = graph.layer()
    parts = graph.call(function, graph.read(given), *(arguments or (2, 1)))
    members = [graph.quantized(graph.call(operator.getitem, parts, at), given.args[1:3]) for at in (0, -1)]
    return graph.done(*members)


def test_without_it_chunks_split_the_delegate() -> None:
    assert places(chunks(), without(slices)) == {
        "convolution": "int8", "split_with_sizes_copy": "portable", "delegates": "2",
    }  # fmt: skip


def test_chunks_are_slices_in_int8() -> None:
    content, found = lowered(chunks())
    assert found == {"convolution": "int8", "slice_copy": "int8", "delegates": "1"}
    assert steps_between(chunks(), content, 0.05) <= 1


@pytest.mark.parametrize(
    "module",
    [
        chunks(torch.split, 3, 1),
        chunks(torch.unbind, 1),
        chunks(torch.tensor_split, 3, 2),
        single(torch.select, 1, -2),
        single(operator.getitem, (slice(None), slice(1, 5), Ellipsis, slice(2, None))),
        single(operator.getitem, (slice(None), 3)),
        single(operator.getitem, (Ellipsis, slice(1, None, 2), slice(0, None, 2))),
    ],
)
def test_values_are_kept_and_all_is_int8(module: fx.GraphModule) -> None:
    ruled = applied(module)
    assert torch.equal(run(ruled), run(module))
    called = {node.target for node in ruled.graph.nodes if node.op == "call_function"}
    assert not called & {torch.split, torch.unbind, torch.tensor_split, torch.select, operator.getitem}


def test_a_step_that_does_not_divide_stays() -> None:
    module = single(operator.getitem, (Ellipsis, slice(None, None, 5)))
    assert torch.equal(run(applied(module)), run(module))
    assert operator.getitem in {node.target for node in applied(module).graph.nodes}


def test_a_tensor_method_is_one_too() -> None:
    graph = Graph()
    given = graph.layer()
    part = graph.graph.call_method("narrow", (graph.read(given), 1, 0, 4))
    module = graph.done(graph.quantized(part, given.args[1:3]))
    assert run(applied(module)).shape == (2, 4, *IMAGES.shape[2:])
    assert Tensor.narrow is not torch.narrow


def test_an_index_that_drops_a_dimension_of_free_sizes_stays() -> None:
    module = single(operator.getitem, (slice(None), 0))
    larger = torch.randn(1, 8, 16, 20)
    ruled = apply_rules(copy.deepcopy(module), [(IMAGES[:1],), (larger,)], RULES)
    assert torch.equal(run(ruled, larger), run(module, larger))
    assert operator.getitem in {node.target for node in ruled.graph.nodes}
