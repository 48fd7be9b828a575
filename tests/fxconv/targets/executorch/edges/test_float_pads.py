"""Padding of dequantized values that is not quantized after it."""

import importlib.metadata

import pytest
import torch.nn.functional as F
from qdq_graphs import Graph, lowered, steps_between
from torch import fx

from fxconv.targets.executorch import lowering
from fxconv.targets.executorch.edges import EDGE_RULES
from fxconv.targets.executorch.edges.float_pads import float_pads


def padded(value: float = 0.0) -> fx.GraphModule:
    graph = Graph()
    image = graph.layer()
    return graph.done(graph.call(F.pad, graph.read(image), (1, 0, 2, 0), "constant", value), image)


def test_it_is_quantized_in_the_scale_of_what_it_pads() -> None:
    module = padded()
    content, found = lowered(module)
    assert found == {"convolution": "int8", "constant_pad_nd": "int8", "delegates": "1"}
    assert steps_between(module, content, 0.05) == 0


def test_without_it_the_file_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("executorch")
    if importlib.metadata.version("executorch").startswith("1.3"):
        pytest.skip("ExecuTorch 1.3 does not quantize what is padded by itself")
    monkeypatch.setattr(lowering, "EDGE_RULES", tuple(rule for rule in EDGE_RULES if rule is not float_pads))
    module = padded()
    with pytest.raises(Exception, match="StaticConstantPad"):
        steps_between(module, lowered(module)[0], 0.05)


def test_other_numbers_than_zero_stay_float() -> None:
    module = padded(0.73)
    content, found = lowered(module)
    assert found["constant_pad_nd"] == "float"
    assert steps_between(module, content, 0.05) == 0
