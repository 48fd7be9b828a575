"""Rolls as slices that change places."""

import pytest
import torch
from qdq_graphs import applied, lowered, places, run, single, steps_between, without
from torch import fx

from fxconv.targets.executorch.rules.rolls import rolls


def test_without_it_a_roll_splits_the_delegate() -> None:
    assert places(single(torch.roll, (-2, 3), (2, 3)), without(rolls))["index_select"] == "portable"


@pytest.mark.parametrize("module", [single(torch.roll, (-2, 3), (2, 3)), single(torch.roll, 5, 1)])
def test_a_roll_is_int8(module: fx.GraphModule) -> None:
    assert torch.equal(run(applied(module)), run(module))
    content, found = lowered(module)
    assert found == {"convolution": "int8", "slice_copy": "int8", "cat": "int8", "delegates": "1"}
    assert steps_between(module, content, 0.05) <= 1


def test_a_roll_by_nothing_and_one_of_all_places() -> None:
    module = single(torch.roll, 12, 2)
    assert torch.equal(run(applied(module)), run(module))
    assert torch.roll not in {node.target for node in applied(module).graph.nodes}
    assert torch.roll in {node.target for node in applied(single(torch.roll, 3)).graph.nodes}
