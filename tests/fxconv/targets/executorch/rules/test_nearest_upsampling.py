"""Nearest upsampling as copies beside each other."""

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import applied, lowered, places, run, single, steps_between, without

from fxconv.targets.executorch.rules.nearest_upsampling import nearest_upsampling


def test_without_it_upsampling_splits_the_delegate() -> None:
    module = single(F.interpolate, scale_factor=2.0, mode="nearest")
    assert places(module, without(nearest_upsampling)) == {
        "convolution": "int8", "upsample_nearest2d": "portable", "delegates": "2",
    }  # fmt: skip
    content, found = lowered(module)
    assert set(found.values()) == {"int8", "1"}
    assert steps_between(module, content, 0.05) <= 1


@pytest.mark.parametrize("factor", [(2.0, 3.0), (1.0, 2.0), (5.0, 1.0)])
def test_values_are_kept(factor: tuple[float, float]) -> None:
    module = single(F.interpolate, scale_factor=factor, mode="nearest")
    assert torch.equal(run(applied(module)), run(module))
    assert F.interpolate not in {node.target for node in applied(module).graph.nodes}


def test_a_size_that_is_no_multiple_stays() -> None:
    module = single(F.interpolate, size=(13, 12), mode="nearest")
    assert F.interpolate in {node.target for node in applied(module).graph.nodes}
