"""Whole rewritten networks in int8, where a value changed in place, shared or taken apart could come out wrong.

Float equality does not show these: in int8 a float reader gets a copy, and convolutions hand on channels_last.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from eager_int8 import convert_network, sqnr
from passcheck import assert_same_results, conv, images, model, tensors
from torch import nn

from rewrites import WRAPPED_PASSES, rewrite


def changed_through_a_view(self, x):
    y = self.conv1(x)
    y.flatten(1).add_(2)
    return self.conv2(y)


def changed_twice_through_a_view(self, x):
    y = self.conv1(x)
    flat = y.view(2, -1)
    flat += 1
    flat *= 2
    return y + 1


def relu_through_a_view(self, x):
    y = self.conv1(x)
    F.relu(y.view(2, -1), inplace=True)
    return y * 2


def sum_before_a_change(self, x):
    y = self.conv1(x)
    total = y + x
    y.view(2, -1).add_(3)
    return F.relu(total) + y


def sum_after_a_change(self, x):
    y = self.conv1(x)
    y.view(2, -1).add_(3)
    return F.relu(y + x)


def island_changed_through_a_view(self, x):
    y = self.mish(self.conv1(x))
    y.flatten(1).add_(2)
    return self.conv2(y)


def relu_read_before_and_after(self, x):
    y = self.conv1(x)
    z = F.relu(y, True)
    return self.conv2(y + z)


def flat_view_before_a_classifier(self, x):
    y = self.pool(self.conv1(x))
    return self.linear(y.view(y.size(0), -1))


def chunks(self, x):
    left, right = self.conv1(x).chunk(2, 1)
    return torch.cat([right, left], 1) * 0.5


def chunks_returned(self, x):
    return self.conv1(x).chunk(2, 1)


def chunks_joined_in_float(self, x):
    return torch.hstack(self.conv1(x).chunk(2, 1))


def chunks_stacked(self, x):
    left, right = self.conv1(x).chunk(2, 1)
    return torch.stack([right * 3.0, left, right], -1)


def many_copies(self, x):
    y = self.conv1(x)
    return self.conv2(y.repeat_interleave(2, 2).tile(1, 1, 1, 2) + y.mean((2, 3), True).expand_as(y).repeat(1, 1, 2, 2))


def mask(self, x):
    y = self.conv1(x)
    return self.conv2(y * (y > 0))


def shared_convolution(self, x):
    return self.conv1(torch.relu(self.conv1(x)))


def shared_by_both_domains(self, x):
    y = self.conv1(x)
    z = torch.add(y, x, out=y)
    return self.conv1(z)


def weight_read_by_name(self, x):
    return F.conv2d(self.conv1(x), self.conv1.weight)


def parameter(self, x):
    return self.conv1(x) * self.scale + self.scale


def gate(self, x):
    y = self.conv1(x)
    return y * torch.sigmoid(self.conv2(y.mean((2, 3), keepdim=True)))


def scalars(self, x):
    return (self.conv1(x) - 2) / 4 + 3 * self.conv2(x) * 0.1


def norm_alone(self, x):
    return self.conv1(torch.relu(self.bn(x)))


def padded_and_resized(self, x):
    return self.conv2(F.interpolate(F.pad(self.conv1(x), (1, 1, 1, 1)), scale_factor=2, mode="bilinear"))


NETWORKS = [
    changed_through_a_view, changed_twice_through_a_view, relu_through_a_view, sum_before_a_change, sum_after_a_change,
    island_changed_through_a_view, relu_read_before_and_after, flat_view_before_a_classifier, chunks, chunks_returned,
    chunks_joined_in_float, chunks_stacked, many_copies, mask, shared_convolution, shared_by_both_domains,
    weight_read_by_name, parameter, gate, scalars, norm_alone, padded_and_resized,
]  # fmt: skip


def build(forward) -> nn.Module:
    parts = {
        "conv1": conv(), "conv2": conv(), "mish": nn.Mish(), "pool": nn.MaxPool2d(2), "linear": nn.Linear(128, 4),
        "bn": nn.BatchNorm2d(8), "scale": nn.Parameter(torch.rand(1, 8, 1, 1) + 0.5),
    }  # fmt: skip
    return model(forward, **parts)


@pytest.mark.parametrize("passes", ["functional", "wrapped"])
@pytest.mark.parametrize("forward", NETWORKS, ids=lambda forward: forward.__name__.replace("_", " "))
def test_int8_computes_what_float_computes(forward, passes):
    original = build(forward)
    rewritten = rewrite(original, WRAPPED_PASSES) if passes == "wrapped" else rewrite(original)
    batches = [images(seed=seed) for seed in range(3)]
    assert_same_results(copy.deepcopy(original), rewritten.graph_module, batches)
    network = convert_network(rewritten.graph_module, batches)
    with torch.no_grad():
        wanted, got = tensors(original(batches[0][0].clone())), tensors(network(batches[0][0].clone()))
    assert len(wanted) == len(got)
    for one, other in zip(wanted, got, strict=True):
        assert one.shape == other.shape
        assert sqnr(one, other) > 22
