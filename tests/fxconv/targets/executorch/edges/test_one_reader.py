"""Dequantized images with one reader each."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import Graph, lowered, steps_between
from torch import Tensor, fx

from fxconv.errors import ConversionError
from fxconv.targets.executorch import lowering
from fxconv.targets.executorch.edges import EDGE_RULES
from fxconv.targets.executorch.edges.one_reader import one_reader
from fxconv.targets.executorch.runtime import RefusedInput

OTHERS = tuple(rule for rule in EDGE_RULES if rule is not one_reader)


def shared(*functions: Callable[[Tensor], Tensor]) -> fx.GraphModule:
    """A convolution whose dequantized value is an output and is read by float operations."""
    graph = Graph()
    image = graph.read(graph.layer())
    return graph.done(image, *(graph.call(function, image) for function in functions))


def into_rows(value: Tensor) -> Tensor:
    return torch.reshape(value, (4, 4, 12, 12))


def test_without_it_a_value_that_is_reshaped_and_returned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = shared(into_rows)
    monkeypatch.setattr(lowering, "EDGE_RULES", OTHERS)
    with pytest.raises(ConversionError, match=r"n1: KeyError: 'val', in its ChannelsLastTaggedReshapePass$"):
        lowered(module)


def test_without_it_what_reads_an_output_too_reads_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    module = shared(torch.abs)
    assert steps_between(module, lowered(module)[0], 0.05) == 0
    monkeypatch.setattr(lowering, "EDGE_RULES", OTHERS)
    with pytest.raises(RefusedInput, match=r"Expected shape \(2, 8, 12, 12\), but received \(2, 12, 8, 12\)"):
        steps_between(module, lowered(module)[0], 0.05)


@pytest.mark.parametrize(
    "functions",
    [
        (into_rows,),
        (torch.abs, into_rows, lambda value: F.max_pool2d(value, 2, 2)),
        (lambda value: torch.amax(value, 1), lambda value: F.avg_pool2d(value, 3, 2, 1, True, False)),
        (lambda value: torch.softmax(value, -1), torch.exp),
        (lambda value: torch.transpose(value, 2, 3), lambda value: value),
    ],
)
def test_values_are_kept_in_one_delegate(functions: tuple[Callable[[Tensor], Tensor], ...]) -> None:
    module = shared(*functions)
    content, found = lowered(module)
    assert found["delegates"] == "1"
    assert steps_between(module, content, 0.05) == 0
