"""PReLU on values that are no images."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import Graph, lowered, steps_between
from torch import Tensor, fx

from fxconv.errors import ConversionError
from fxconv.targets.executorch import lowering

GENERATOR = torch.Generator().manual_seed(2)
SIGNALS = torch.randn(2, 8, 24, generator=GENERATOR)


def activated(of_channels: int, *before: Any) -> fx.GraphModule:
    graph = Graph()
    value = graph.read(graph.x)
    if before:
        value = graph.call(*before[:1], value, *before[1:])
    slopes = graph.constant(torch.linspace(0.1, 0.4, of_channels))
    return graph.done(graph.quantized(graph.call(torch.prelu, value, slopes)))


@pytest.mark.parametrize(
    ("shape", "slopes"), [((2, 8), 8), ((2, 8, 24), 8), ((2, 8, 24), 1), ((2, 8, 3, 4, 5), 8), ((2, 8, 6, 6), 8)]
)
def test_it_runs_in_the_delegate_and_keeps_values(shape: tuple[int, ...], slopes: int) -> None:
    given: Tensor = torch.randn(*shape, generator=GENERATOR)
    module = activated(slopes)
    content, found = lowered(module, images=given)
    assert (found["prelu"], found["delegates"]) == ("float", "1")
    assert steps_between(module, content, 0.03, given) <= 1


def test_without_it_a_signal_is_refused_with_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "EDGE_RULES", ())
    reason = r"n1: AssertionError: Attempting to convert non-NHWC compatible node to NHWC, in its ChannelsLastTagged"
    with pytest.raises(ConversionError, match=reason):
        lowered(activated(8), images=SIGNALS)


def test_any_batch_is_taken() -> None:
    module = activated(8, F.relu)
    program = lowering.lower(module, (SIGNALS[:1],))
    assert (program.largest_batch, program.fixed_batch) == (lowering.LARGEST_BATCH, "")
    assert steps_between(module, program.content, 0.03, SIGNALS) <= 1
