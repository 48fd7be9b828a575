"""What is left out of lowering changes nothing of what comes out."""

import gc
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import IMAGES, Graph
from torch import fx, nn
from torch.fx import traceback

from fxconv.targets.executorch import lowering
from fxconv.targets.executorch.lean import lean


def network() -> fx.GraphModule:
    graph = Graph()
    inner = graph.quantized(graph.call(F.relu, graph.convolution()), (0.05, -128))
    return graph.done(graph.quantized(graph.call(F.hardswish, graph.read(inner))))


def test_the_bytes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("executorch")
    own = lowering.lower_alike(network(), (IMAGES[:1],))
    whole = lowering.lower_alike.__wrapped__  # type: ignore[attr-defined]
    monkeypatch.setattr(lowering, "lean", nullcontext)
    assert whole(network(), (IMAGES[:1],)) == own


def test_all_is_as_before_afterwards() -> None:
    before = (gc.get_threshold(), vars(traceback)["copy"])
    with pytest.raises(ZeroDivisionError), lean():
        assert gc.get_threshold() != before[0]
        1 / 0  # noqa: B018
    assert (gc.get_threshold(), vars(traceback)["copy"]) == before


def test_a_node_still_says_where_it_comes_from() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu() + 1

    with lean():
        program = torch.export.export(Net(), (torch.zeros(2),), strict=False).run_decompositions()
    added = next(node for node in program.graph.nodes if "add" in str(node.target))
    assert added.meta["from_node"][-1].name == "add"
