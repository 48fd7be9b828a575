"""A property: whatever a forward does with sizes, the rewritten model is right on others or says what it fixed.

It says so of the lines that take a decision, and of no other.
"""

import copy

import pytest
import torch
from passcheck import model
from random_forwards import PointwiseLayer, random_forward
from sizecheck import EXAMPLE, answer, are_close, image, right_or_told
from torch import nn

from rewrites import rewrite


@pytest.mark.parametrize("seed", range(60))
def test_a_random_forward_is_right_or_told_on_other_sizes_and_batches(seed):
    text, forward, deciding = random_forward(seed)
    net = model(forward, layer=PointwiseLayer(), act=nn.Hardswish(), k16=None)
    want = answer(net, image(EXAMPLE))
    if isinstance(want, Exception):
        pytest.skip(f"does not run: {want}")
    result = rewrite(copy.deepcopy(net), example=(image(EXAMPLE),))
    assert (result.leaves, list(result.graphs)) == ((), [""]), text
    with torch.no_grad():
        assert are_close(want, result.module(image(EXAMPLE))), text
    assert right_or_told(net, result) == [], text
    assert sorted(entry.place for entry in result.fixed) == sorted(deciding), text
