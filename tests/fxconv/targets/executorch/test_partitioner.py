"""What the XNNPACK delegate is given."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import Graph, lowered, steps_between
from torch import Tensor


@pytest.mark.parametrize("dim", [1, 2, -1])
@pytest.mark.parametrize("keep", [False, True])
def test_a_maximum_that_is_no_pool_stays_outside(dim: int, keep: bool) -> None:
    """The partitioner gives all of them to the delegate, which refuses the program then."""
    graph = Graph()
    image = graph.read(graph.layer())
    module = graph.done(graph.call(_largest, image, dim, keep))
    content, found = lowered(module)
    assert found["max"] == ("float" if (dim, keep) == (2, True) else "portable")
    assert steps_between(module, content, 0.05) == 0


def test_a_pool_of_one_image_without_a_batch_stays_outside() -> None:
    """It is given to the delegate as well, whose order of values it cannot have: the program is refused then."""
    graph = Graph()
    one = graph.call(torch.select, graph.read(graph.layer()), 0, 0)
    module = graph.done(graph.call(F.avg_pool2d, one, 2))
    content, found = lowered(module)
    assert found["avg_pool2d"] == "portable"
    assert steps_between(module, content, 0.05) == 0


def _largest(value: Tensor, *args: Any) -> Tensor:
    return torch.max(value, *args)[0]


def test_a_pool_without_a_stride_is_lowered() -> None:
    """ExecuTorch 1.3 reads the stride where it stands; export leaves it out where it is the window's size."""
    graph = Graph()
    module = graph.done(graph.call(lambda value: F.max_pool2d(value, 2), graph.read(graph.layer())))
    assert steps_between(module, lowered(module)[0], 0.05) == 0
