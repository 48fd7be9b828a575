"""Pools with all arguments."""

import torch
import torch.nn.functional as F
from qdq_graphs import applied, lowered, run, single, steps_between

from fxconv.targets.executorch.rules.whole_pool_arguments import whole_pool_arguments


def test_pools_are_given_all_arguments() -> None:
    module = single(F.max_pool2d, kernel_size=2)
    ruled = whole_pool_arguments(applied(module, ()))
    (node,) = ruled.graph.find_nodes(op="call_function", target=torch.max_pool2d)
    assert node.args[1:] == ((2, 2), (2, 2), (0, 0), (1, 1), False)
    assert torch.equal(run(ruled), run(module))
    ruled = whole_pool_arguments(applied(single(F.avg_pool2d, 3, 1, padding=1), ()))
    (node,) = ruled.graph.find_nodes(op="call_function", target=F.avg_pool2d)
    assert node.args[1:] == ((3, 3), (1, 1), (1, 1), False, True, None)


def test_a_maximum_is_int8() -> None:
    module = single(F.max_pool2d, 3, 2, 1)
    content, found = lowered(module)
    assert set(found.values()) == {"int8", "1"}
    assert steps_between(module, content, 0.05) <= 1
