"""Weights that lie as their sizes say."""

import torch
from qdq_graphs import Graph, applied, run
from torch import fx

from fxconv.targets.executorch.rules import RULES
from fxconv.targets.executorch.rules.contiguous_constants import contiguous_constants


def strided() -> fx.GraphModule:
    graph = Graph()
    module = graph.done(graph.layer())
    for name, value in module.named_buffers():
        if value.ndim == 4:
            setattr(module, name, value.to(memory_format=torch.channels_last))
    return module


def test_weights_become_contiguous() -> None:
    assert not all(value.is_contiguous() for value in strided().buffers())
    ruled = contiguous_constants(strided())
    assert all(value.is_contiguous() for value in ruled.buffers())
    assert torch.equal(run(ruled), run(strided()))


def test_it_is_the_last_rule() -> None:
    assert RULES[-1] is contiguous_constants
    assert all(value.is_contiguous() for value in applied(strided()).buffers())
