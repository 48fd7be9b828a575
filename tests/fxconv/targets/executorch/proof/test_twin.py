"""The twin: what the form returns, and every int8 value in it."""

from __future__ import annotations

import pytest
import torch
from fxconv_proofs import Made, Many, Parts, made

from fxconv.models import forward
from fxconv.targets.executorch.proof.twin import split, twin_of
from fxconv.targets.qdq.proof.values import Value, int8_values
from rewrites.parts import graphs_in


@pytest.fixture(scope="module")
def many() -> Made:
    return made(Many)


@pytest.fixture(scope="module")
def parts() -> Made:
    return made(Parts)


def test_the_twin_returns_the_outputs_and_behind_them_every_int8_value(many):
    twin = twin_of(many.qdq, many.images[0])
    outputs, values = twin(*many.images[1])
    wanted = many.qdq(*many.images[1])
    assert all(torch.equal(a, b) for a, b in zip(outputs, wanted, strict=True))
    assert len(values) == len(twin.whose) == len(int8_values(many.form()))
    assert {value.dtype for value in values} == {torch.int8}
    # the convolution that is called twice is two nodes, the two halves of a split are two values of one
    nodes = [whose.node for whose in twin.whose]
    assert {"shared", "shared_1"} < set(nodes)
    assert [whose.index for whose in twin.whose if whose.node == "chunk"] == [0, 1]


def test_values_of_a_part_that_is_called_twice_are_told_apart_by_the_call(parts):
    twin = twin_of(parts.qdq, parts.images[0])
    calls = [whose.call for whose in twin.whose if whose.path == "body" and whose.node == "conv_0"]
    assert calls == [0, 1]
    assert twin.whose[-1] == Value("head", "linear", 0, 0)
    twin(*parts.images[0])
    assert len(twin.whose) == len({*twin.whose})


def test_the_form_is_left_as_it_is(parts):
    before = {path: str(graph.graph) for path, graph in graphs_in(parts.qdq).items()}
    twin_of(parts.qdq, parts.images[0])
    assert {path: str(graph.graph) for path, graph in graphs_in(parts.qdq).items()} == before


def test_what_a_file_of_the_twin_returns_is_taken_apart(many):
    twin = twin_of(many.qdq, many.images[0])
    flat = [forward.returned(twin, image) for image in many.images]
    returned, values = split(flat, twin.whose)
    assert [len(leaves) for leaves in returned] == [2, 2]
    assert torch.equal(returned[1][0], many.qdq(*many.images[1])[0])
    assert list(values[1]) == list(twin.whose)
