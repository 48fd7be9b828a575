"""Averages over the whole image."""

import copy

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import IMAGES, applied, lowered, places, run, single, steps_between, without
from torch import fx

from fxconv.targets.executorch.rules import RULES
from fxconv.targets.executorch.rules.image_averages import image_averages
from fxconv.targets.qdq.ruling import apply_rules


def test_without_it_a_mean_that_drops_its_dimensions_splits_the_delegate() -> None:
    assert places(single(torch.mean, (2, 3)), without(image_averages)) == {
        "convolution": "int8", "mean": "portable", "delegates": "2",
    }  # fmt: skip


@pytest.mark.parametrize(
    "module",
    [
        single(torch.mean, (2, 3)),
        single(torch.mean, [-1, -2], True),
        single(F.adaptive_avg_pool2d, 1),
        single(F.avg_pool2d, 12),
    ],
)
def test_it_is_int8(module: fx.GraphModule) -> None:
    assert (run(applied(module)) - run(module)).abs().max() <= 0.0501
    content, found = lowered(module)
    assert found["mean"] == "int8" and set(found.values()) == {"int8", "1"}
    assert steps_between(module, content, 0.05) <= 1


def test_a_mean_over_channels_stays() -> None:
    module = single(torch.mean, (1,), True)
    assert torch.equal(run(applied(module)), run(module))


def test_where_batch_and_sizes_are_free_it_is_float_and_gives_the_same() -> None:
    module = single(torch.mean, (2, 3))
    larger = torch.cat([IMAGES, IMAGES[:1]])[:, :, :10, :10]
    ruled = apply_rules(copy.deepcopy(module), [(IMAGES,), (larger,)], RULES)
    assert torch.mul in {node.target for node in ruled.graph.nodes}
    assert torch.mul not in {node.target for node in applied(module).graph.nodes}
    assert torch.equal(run(ruled), run(module)) and torch.equal(run(ruled, larger), run(module, larger))
