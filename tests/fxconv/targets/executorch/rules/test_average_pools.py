"""Average pools as depthwise convolutions."""

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import applied, lowered, places, run, single, steps_between, without

from fxconv.targets.executorch.rules.average_pools import average_pools


def test_without_it_an_average_is_float_and_with_padding_portable() -> None:
    assert places(single(F.avg_pool2d, 2), without(average_pools))["avg_pool2d"] in ("float", "portable")  # as of 1.3
    assert places(single(F.avg_pool2d, 3, 1, 1), without(average_pools))["avg_pool2d"] == "portable"


@pytest.mark.parametrize("arguments", [(2,), (3, 1, 1), (3, 2), ((2, 3), 2, 0, False, True, 5)])
def test_an_average_is_int8(arguments) -> None:
    module = single(F.avg_pool2d, *arguments)
    assert (run(applied(module)) - run(module)).abs().max() <= 0.0501
    content, found = lowered(module)
    assert found == {"convolution": "int8", "delegates": "1"}
    assert steps_between(module, content, 0.05) <= 1


def test_one_that_leaves_zeros_out_stays() -> None:
    module = single(F.avg_pool2d, 3, 1, 1, False, False)
    assert torch.equal(run(applied(module)), run(module))
    assert places(module)["avg_pool2d"] == "float"
