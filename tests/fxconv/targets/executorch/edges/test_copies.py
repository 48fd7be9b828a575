"""Copies of int8 values."""

import copy

import pytest
import torch
from qdq_graphs import IMAGES, Graph, applied
from torch import Tensor, fx

from fxconv.errors import ConversionError
from fxconv.models import forward
from fxconv.targets.executorch import lowering
from fxconv.targets.executorch.edges import EDGE_RULES
from fxconv.targets.executorch.edges.copies import copies
from fxconv.targets.executorch.edges.values import is_quantize
from fxconv.targets.executorch.proof.twin import twin_of
from fxconv.targets.executorch.runtime import load

OTHERS = tuple(rule for rule in EDGE_RULES if rule is not copies)


def chain(*functions: object, coarser: bool = False) -> fx.GraphModule:
    """A convolution, and these operations behind it, each quantized as it is, or two times coarser."""
    graph = Graph()
    value = graph.layer()
    scale, zero_point = value.args[1:3]
    for function in functions:
        scale = scale * 2 if coarser else scale
        value = graph.quantized(graph.call(function, graph.read(value)), (scale, zero_point))
    return graph.done(value)


def cloned(value: Tensor) -> Tensor:
    return value.clone()


def as_it_is(value: Tensor) -> Tensor:
    return torch.reshape(value, (2, 8, 12, 12))


def turned(value: Tensor) -> Tensor:
    return torch.permute(value, (0, 1, 3, 2))


def turned_and_laid_out(value: Tensor) -> Tensor:
    return value.contiguous()


REFUSED = [
    pytest.param((cloned,), id="a clone"),
    pytest.param((turned, turned_and_laid_out), id="a permuted value laid out anew"),
    pytest.param((cloned, as_it_is, lambda value: torch.reshape(value, (2, 8, 144))), id="copies of copies"),
]
TAKEN = [
    pytest.param((as_it_is,), id="a reshape to its own sizes"),
    pytest.param((turned, lambda value: torch.reshape(value, (2, 8, 12, 12))), id="a permuted value reshaped"),
]


def told(module: fx.GraphModule) -> tuple[list[Tensor], list[Tensor]]:
    """What the twin returns, and what its file does."""
    twin = twin_of(applied(module), (IMAGES,))
    expected = [value.clone() for value in twin(IMAGES)[1]]
    program = load(lowering.lower_alike(copy.deepcopy(twin), (IMAGES,)))
    return expected, forward.returned(program, (IMAGES,))[1:]


@pytest.mark.parametrize("functions", [*REFUSED, *TAKEN])
def test_a_value_and_its_copy_leave_a_delegate(functions: tuple[object, ...]) -> None:
    expected, found = told(chain(*functions))
    assert len(found) == len(expected) > len(functions)
    for own, wanted in zip(found, expected, strict=True):
        assert own.shape == wanted.shape
        assert (own.int() - wanted.int()).abs().max() <= 1


@pytest.mark.parametrize("functions", REFUSED)
def test_without_it_a_program_that_returns_both_is_refused(
    functions: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lowering, "EDGE_RULES", OTHERS)
    with pytest.raises(ConversionError, match="is already in the inputs"):
        told(chain(*functions))


@pytest.mark.parametrize(("coarser", "left"), [(False, 2), (True, 3)])
def test_what_is_quantized_otherwise_is_no_copy(coarser: bool, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []

    def count(graph_module: fx.GraphModule) -> None:
        counted.append(sum(map(is_quantize, graph_module.graph.nodes)))

    monkeypatch.setattr(lowering, "EDGE_RULES", (copies, count))
    lowering.lower_alike(applied(chain(cloned, coarser=coarser)), (IMAGES,))
    assert counted == [left]  # the input's, the convolution's, and the one behind the clone
