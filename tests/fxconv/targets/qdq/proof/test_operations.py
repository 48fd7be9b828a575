"""Each int8 operation on the values of a file, which here are those of the twin, run by torch."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from fxconv_proofs import Made, Many, Parts, Small, made
from torch import Tensor, fx, nn

from fxconv.models import forward
from fxconv.targets.executorch.proof.twin import split, twin_of
from fxconv.targets.qdq.proof import operations
from fxconv.targets.qdq.proof.operations import HeldOperations
from fxconv.targets.qdq.writer import DEQUANTIZE, QUANTIZE
from fxconv.verification.audit import Audit
from rewrites.parts import graphs_in

Fault = Callable[[fx.GraphModule], None]


@pytest.fixture(scope="module")
def small() -> Made:
    return made(Small)


@pytest.fixture(scope="module")
def many() -> Made:
    return made(Many)


@pytest.fixture(scope="module")
def parts() -> Made:
    return made(Parts)


def held(given: Made, form: nn.Module | None = None, without: tuple[str, ...] = ()) -> HeldOperations:
    twin = twin_of(form or given.qdq, given.images[0])
    returned, values = split([forward.returned(twin, image) for image in given.images], twin.whose)
    kept = [{whose: value for whose, value in each.items() if whose.node not in without} for each in values]
    return operations.hold(given.int8, given.floating, given.images, kept, returned)


def with_fault(given: Made, path: str, fault: Fault) -> nn.Module:
    form = copy.deepcopy(given.qdq)
    graph = graphs_in(form)[path]
    fault(graph)
    graph.recompile()
    return form


def grid_of(name: str, at: int, change: Callable[[float], float]) -> Fault:
    """Another scale (1) or zero point (2) for the value of a node of the int8 graph, wherever it stands."""

    def plant(graph: fx.GraphModule) -> None:
        (made_at,) = (node for node in graph.graph.nodes if node.meta.get("int8") == (name, 0))
        for node in (made_at, *made_at.users):
            assert node.target in (QUANTIZE, DEQUANTIZE)
            node.args = (*node.args[:at], change(node.args[at]), *node.args[at + 1 :])

    return plant


def constant(path: str, add: int, place: int = 0) -> Fault:
    def plant(graph: fx.GraphModule) -> None:
        owner, _, name = path.rpartition(".")
        held_at = getattr(graph.get_submodule(owner), name)
        held_at.view(-1)[place] += add

    return plant


def test_every_int8_operation_is_held_and_agrees(many):
    found = held(many)
    names = [op.where for op in found.operations]
    audited = [op for op in many.conversion.audit.operations if op.values and op.operator != "DeQuantize"]
    assert set(names) == {op.where for op in audited} - {"getitem", "getitem_1"}
    assert [op.problem for op in found.operations if op.problem] == []
    assert all(op.values for op in found.operations) and max(op.worst for op in found.operations) <= 1
    assert found.outputs.passed and found.outputs.rule == "equal"


def test_parts_are_held_on_what_the_code_around_them_makes_of_the_files_values(parts):
    found = held(parts)
    assert [op.where for op in found.operations] == [
        "body.quant_input_1", "body.conv_0", "body.conv_2", "head.quant_flatten", "head.linear",
    ]  # fmt: skip
    # two images, and the body is called twice on each
    assert found.operations[1].values == 2 * 2 * 4 * 16 * 16
    assert not any(op.problem for op in found.operations)
    assert found.outputs.passed


@pytest.mark.parametrize(
    "fault",
    [
        grid_of("second", 1, lambda scale: scale * 1.1),
        grid_of("second", 2, lambda zero_point: zero_point + 3),
        constant("second.weight", 100),
        constant("second.bias", 20_000),
    ],
    ids=["scale", "zero point", "weight", "bias"],
)
def test_a_fault_in_the_form_that_the_file_was_written_from_has_the_operations_name(small, fault):
    found = held(small, with_fault(small, "", fault))
    # with another zero point what reads it is off, too
    assert next(op.where for op in found.operations if op.problem) == "second"
    problem = Audit(found.operations, 2).problem
    assert problem.startswith("second (Conv2d): ") and "% of its values are more than 2 steps" in problem


def test_a_fault_in_a_part_has_its_path(parts):
    found = held(parts, with_fault(parts, "body", constant("conv_0.bias", 20_000)))
    assert [op.where for op in found.operations if op.problem] == ["body.conv_0"]


def test_an_operation_without_values_of_its_own_is_held_with_the_one_that_reads_it(many):
    found = held(many, without=("excite",))
    (row,) = (op for op in found.operations if "excite" in op.where)
    assert (row.where, row.operator, row.problem) == ("excite and hardsigmoid", "Conv2d and Hardsigmoid", "")
    fault = with_fault(many, "", constant("excite.bias", 2_000_000))
    (failed,) = (op for op in held(many, fault, ("excite",)).operations if op.problem)
    assert failed.where == "excite and hardsigmoid"


class Moved(nn.Module):
    """An int8 value that is only moved before it is read in float, as by a softmax over seven dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        value = self.relu(self.conv(x) * 0.5)
        moved = value.reshape(value.shape[0], 2, 4, -1)
        return torch.softmax(moved, 2)


@pytest.mark.parametrize(
    ("without", "problems"),
    [
        pytest.param(("reshape",), [], id="moved"),
        pytest.param(("relu", "reshape"), ["has no int8 values in the file, nor has what reads it"], id="computed"),
    ],
)
def test_a_value_that_is_only_moved_need_not_be_in_the_file(without, problems):
    found = held(made(Moved), without=without)
    assert [row.problem for row in found.operations if row.problem] == problems


def test_a_value_that_is_moved_elsewhere_shows_in_what_the_file_returns():
    def flipped(graph: fx.GraphModule) -> None:
        (read,) = (node for node in graph.graph.nodes if node.name == "softmax")
        (moved,) = read.all_input_nodes
        with graph.graph.inserting_before(read):
            read.replace_input_with(moved, graph.graph.call_function(torch.flip, (moved, (1,))))

    given = made(Moved)
    assert held(given, without=("reshape",)).outputs.passed
    assert not held(given, with_fault(given, "", flipped), without=("reshape",)).outputs.passed


def test_an_operation_whose_values_are_nowhere_fails(small):
    found = held(small, without=("head",))
    assert [(op.where, op.problem) for op in found.operations if op.problem] == [
        ("head", "has no int8 values in the file, nor has what reads it")
    ]


def test_what_a_file_returns_must_be_what_its_values_call_for(small):
    twin = twin_of(small.qdq, small.images[0])
    returned, values = split([forward.returned(twin, image) for image in small.images], twin.whose)
    returned[1][0][0, 2] += 1e-3
    found = operations.hold(small.int8, small.floating, small.images, values, returned)
    assert not any(op.problem for op in found.operations)
    assert not found.outputs.passed


def test_what_runs_in_the_place_of_the_graphs_is_taken_away_again(small):
    held(small)
    again = small.int8(*small.images[0])
    assert torch.equal(again, small.conversion(*small.images[0]))
    assert all("forward" not in vars(graph) for graph in graphs_in(small.int8).values())
