"""Shuffles, each in three int8 steps."""

import pytest
import torch
import torch.nn.functional as F
from qdq_graphs import applied, lowered, places, run, single, steps_between, without

from fxconv.targets.executorch.rules.shuffles import shuffles


def test_without_it_a_shuffle_is_float() -> None:
    assert places(single(F.channel_shuffle, 2), without(shuffles))["permute_copy"] == "float"


@pytest.mark.parametrize("function", [F.channel_shuffle, F.pixel_shuffle, F.pixel_unshuffle])
def test_a_shuffle_is_int8(function) -> None:
    module = single(function, 2)
    assert torch.equal(run(applied(module)), run(module))
    content, found = lowered(module)
    assert found == {"convolution": "int8", "view_copy": "int8", "permute_copy": "int8", "delegates": "1"}
    assert steps_between(module, content, 0.05) <= 1
