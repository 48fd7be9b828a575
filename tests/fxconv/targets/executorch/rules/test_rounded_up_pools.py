"""Maximum pools whose number of windows is rounded up."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import IMAGES, applied, lowered, run, single, steps_between, without
from torch import fx

from fxconv.targets.executorch.lowering import written
from fxconv.targets.executorch.rules import RULES
from fxconv.targets.executorch.rules.rounded_up_pools import rounded_up_pools
from fxconv.targets.qdq.exporting import exported
from fxconv.targets.qdq.ruling import Rule


def free(module: fx.GraphModule, rules: Sequence[Rule] = RULES) -> dict[str, str]:
    """Where operations run in a program that takes any batch."""
    pytest.importorskip("executorch")
    placed = written(exported(applied(module, rules), (IMAGES,), 32, None, 1), {})[1]
    return {one.operation: one.where.value for one in placed.operations}


def test_without_it_the_pool_is_outside_of_the_delegate_where_the_batch_is_free() -> None:
    module = single(F.max_pool2d, 3, 2, ceil_mode=True)
    assert free(module, without(rounded_up_pools))["max_pool2d_with_indices"] == "portable"
    assert {*free(module).values()} == {"int8"}


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 0), (2, 2, 0), (3, 2, 1), ((2, 5), (3, 4), (1, 2))]
)  # fmt: skip
def test_it_gives_the_same(kernel: object, stride: object, padding: object) -> None:
    module = single(F.max_pool2d, kernel, stride, padding, ceil_mode=True)
    assert torch.equal(run(applied(module)), run(module))


def test_it_is_int8() -> None:
    module = single(F.max_pool2d, 3, 2, ceil_mode=True)
    content, found = lowered(module)
    assert {*found.values()} == {"int8", "1"}
    assert steps_between(module, content, 0.05) <= 1


def test_without_a_window_that_reaches_beyond_nothing_is_padded() -> None:
    called = {node.target for node in applied(single(F.max_pool2d, 2, 2, ceil_mode=True)).graph.nodes}
    assert torch.max_pool2d in called and F.pad not in called
