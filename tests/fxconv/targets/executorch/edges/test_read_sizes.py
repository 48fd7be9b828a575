"""Sizes that are read of what a convolution computes."""

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import Graph, applied, run
from torch import Tensor, fx

from fxconv.errors import ConversionError
from fxconv.targets.executorch import lowering
from fxconv.targets.executorch.placement import Placement
from fxconv.targets.executorch.runtime import load
from fxconv.targets.qdq.exporting import exported

IMAGES = torch.randn(2, 8, 32, 32, generator=torch.Generator().manual_seed(0))


def cropped(activation: Callable[[Tensor], Tensor] | None) -> fx.GraphModule:
    """A convolution of stride 2, whose int8 value is shorter by one row, a number that is computed of its size."""
    graph = Graph()
    bias = graph.constant(torch.zeros(8))
    computed = graph.call(F.conv2d, graph.read(graph.x), graph.weight(8, 8, 3, 3), bias, (2, 2), (1, 1))
    image = graph.quantized(computed if activation is None else graph.call(activation, computed), (0.05, 4))
    size = graph.graph.call_method("size", (graph.read(image), 2))
    return graph.done(
        graph.call(torch.narrow, graph.read(image), 2, 0, graph.graph.call_function(operator.sub, (size, 1)))
    )


def written(module: fx.GraphModule) -> tuple[bytes, Placement]:
    """Its program for heights and widths of 32 and 64: export reads half of them of the convolution."""
    return lowering.written(exported(applied(module, images=IMAGES), (IMAGES,), None, (32, 64), 32), {})


@pytest.mark.parametrize("activation", [None, F.relu])
def test_the_convolution_stays_int8(activation: Callable[[Tensor], Tensor] | None) -> None:
    pytest.importorskip("executorch")
    module = cropped(activation)
    content, placed = written(module)
    assert {one.where.value for one in placed.operations if one.operation == "convolution"} == {"int8"}
    called = load(content)
    for size in (32, 64):
        images = torch.randn(2, 8, size, size, generator=torch.Generator().manual_seed(size))
        assert (called(images) - run(module, images)).abs().max() <= 0.0501


def test_without_it_its_weights_have_no_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("executorch")
    monkeypatch.setattr(lowering, "EDGE_RULES", ())
    reason = (
        r"the delegate leaves an operation outside \(n1\), and the runtime has no operator for "
        r"quantized_decomposed::dequantize_per_channel$"
    )
    with pytest.raises(ConversionError, match=reason):
        written(cropped(None))
