"""Numbers as int8 constants."""

import operator

import pytest
import torch
from qdq_graphs import applied, lowered, places, run, single, steps_between, without
from torch import fx

from fxconv.targets.executorch.rules.scalar_arithmetic import scalar_arithmetic


def test_without_it_a_sum_with_a_number_is_float() -> None:
    assert places(single(torch.add, 0.7, follows=False), without(scalar_arithmetic))["add"] == "float"


@pytest.mark.parametrize(
    "module",
    [
        single(torch.add, 0.7, follows=False),
        single(torch.mul, -0.4, follows=False),
        single(operator.add, 2, follows=False),
    ],
)
def test_it_is_int8(module: fx.GraphModule) -> None:
    assert (run(applied(module)) - run(module)).abs().max() <= 0.0301
    content, found = lowered(module)
    assert set(found.values()) == {"int8", "1"}
    assert steps_between(module, content, 0.03) <= 1


def test_zero_stays_a_number() -> None:
    module = single(torch.add, 0.0, follows=False)
    assert torch.equal(run(applied(module)), run(module))
