"""Adaptive pools whose cells are of one size."""

import torch
import torch.nn.functional as F
from qdq_graphs import IMAGES, applied, lowered, places, run, single, without

from fxconv.targets.executorch.rules import RULES
from fxconv.targets.executorch.rules.adaptive_pools import adaptive_pools
from fxconv.targets.qdq.ruling import apply_rules


def test_without_it_an_adaptive_pool_splits_the_delegate() -> None:
    assert places(single(F.adaptive_avg_pool2d, (3, 4)), without(adaptive_pools)) == {
        "convolution": "int8", "_adaptive_avg_pool2d": "portable", "delegates": "2",
    }  # fmt: skip


def test_it_is_an_average_pool_in_int8() -> None:
    module = single(F.adaptive_avg_pool2d, (3, 4))
    assert (run(applied(module)) - run(module)).abs().max() <= 0.0501
    assert lowered(module)[1] == {"convolution": "int8", "delegates": "1"}


def test_one_that_keeps_its_size_is_nothing() -> None:
    module = single(F.adaptive_avg_pool2d, 12)
    assert torch.equal(run(applied(module)), run(module))
    assert {node.target for node in applied(module).graph.nodes} & {F.adaptive_avg_pool2d, F.avg_pool2d} == set()


def test_uneven_cells_and_free_sizes_stay() -> None:
    module = single(F.adaptive_avg_pool2d, 5)
    assert F.adaptive_avg_pool2d in {node.target for node in applied(module).graph.nodes}
    free = apply_rules(single(F.adaptive_avg_pool2d, 3), [(IMAGES,), (torch.randn(2, 8, 18, 18),)], RULES)
    assert F.adaptive_avg_pool2d in {node.target for node in free.graph.nodes}
