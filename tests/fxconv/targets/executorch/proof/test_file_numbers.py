"""The numbers of a file: weights in torch's order of dimensions, and values with what they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from fxconv.inspection.xnnpack_graph import XnnNode
from fxconv.targets.executorch.proof.file_tensors import in_torch_order
from fxconv.targets.qdq.proof.file_numbers import Grid


def node(kind: str, **fields: int | float | tuple[int, ...]) -> XnnNode:
    return XnnNode(kind, (0, 1, 2), (3,), fields, 0, None)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_weight_of_a_transposed_convolution_in_groups(groups):
    # torch: [in, out of a group, height, width]; XNNPACK: [out, height, width, in of a group]
    torchs = np.arange(4 * 3 * 2 * 5).reshape(4, 3, 2, 5)
    by_group = torchs.reshape(groups, 4 // groups, 3, 2, 5)
    in_file = by_group.transpose(0, 2, 3, 4, 1).reshape(groups * 3, 2, 5, 4 // groups)
    assert np.array_equal(in_torch_order(node("ConvTranspose2d", groups=groups), in_file), torchs)


def test_the_weights_of_other_layers():
    torchs = np.arange(6 * 2 * 3 * 5).reshape(6, 2, 3, 5)
    assert np.array_equal(in_torch_order(node("Conv2d"), torchs.transpose(0, 2, 3, 1)), torchs)
    depthwise = np.arange(6 * 3 * 5).reshape(6, 1, 3, 5)
    in_file = depthwise.transpose(1, 2, 3, 0)
    assert np.array_equal(in_torch_order(node("DepthwiseConv2d"), in_file), depthwise)
    linear = np.arange(6).reshape(2, 3)
    assert np.array_equal(in_torch_order(node("FullyConnected"), linear), linear)


def test_a_grid_is_told_so_that_two_neighbours_differ():
    scale = np.float32(0.1)
    assert str(Grid(scale, -3)) == "scale 0.100000001 and zero point -3"
    assert str(Grid(np.nextafter(scale, np.float32(1)), -3)) != str(Grid(scale, -3))
