"""Batch norms written out are known by what they compute, and never by their name."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rewrites import rewrite
from rewrites.frozen_norms import frozen_batch_norm
from rewrites.fusion import fusable_chains


def norm(forward, name="FrozenBatchNorm2d", channels=4, **attributes):
    """A module with the four buffers of a batch norm, all of them other numbers."""
    made = type(name, (nn.Module,), {"forward": forward})()
    torch.manual_seed(0)
    for buffer in ("weight", "bias", "running_mean", "running_var"):
        made.register_buffer(buffer, torch.rand(channels) + 0.5)
    vars(made).update(attributes)
    return made.eval()


def written_out(self, x):
    weight, bias, mean, variance = (
        self.get_buffer(name).reshape(1, -1, 1, 1) for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight * (variance + 1e-5).rsqrt()
    return x * scale + (bias - mean * scale)


def subtracted_first(self, x):
    centred = (x - self.running_mean[None, :, None, None]) / (self.running_var[:, None, None] + self.eps).sqrt()
    return centred * self.weight[:, None, None] + self.bias[:, None, None]


def by_torch(self, x):
    return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-3)


@pytest.mark.parametrize(
    ("forward", "eps"), [(written_out, 1e-5), (subtracted_first, 1e-2), (by_torch, 1e-3)],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
@pytest.mark.parametrize("name", ["FrozenBatchNorm2d", "DetrFrozenBatchNorm2d", "Scale"])
def test_one_by_any_name(forward, eps, name):
    original = norm(forward, name, eps=1e-2)
    assert frozen_batch_norm(original) == eps
    rewritten = rewrite(nn.Sequential(nn.Conv2d(4, 4, 1), original)).graph_module
    assert fusable_chains(rewritten) == [["conv", "bn"]]


@pytest.mark.parametrize("channels", [1, 3, 5, 2048])
def test_one_of_any_width_is_tried_on_a_small_image(channels):
    assert frozen_batch_norm(norm(by_torch, channels=channels)) == 1e-3
    wrong = norm(lambda self, x: x * self.weight[:, None, None], channels=channels)
    assert frozen_batch_norm(wrong) is None


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: written_out(self, x).clamp(-1e3, 1e3), id="a clamp that no small number meets"),
        pytest.param(lambda self, x: written_out(self, x) * 2, id="twice as much"),
        pytest.param(lambda self, x: written_out(self, x) + x, id="the input once more"),
        pytest.param(lambda self, x: written_out(self, x.relu()), id="an activation before it"),
        pytest.param(lambda self, x: x * self.weight + self.bias, id="over the last dimension"),
        pytest.param(
            lambda self, x: F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True),
            id="with the statistics of the batch",
        ),
        pytest.param(lambda self, x: written_out(self, x) if x.mean() > 0 else x, id="a branch by a number"),
        pytest.param(lambda self, x: x, id="nothing at all"),
    ],
)
def test_one_of_that_name_that_computes_something_else(forward):
    original = norm(forward)
    assert frozen_batch_norm(original) is None
    whole, images = nn.Sequential(nn.Conv2d(4, 4, 1), original).eval(), torch.randn(2, 4, 5, 4) * 1e4
    with torch.no_grad():
        assert torch.allclose(rewrite(whole, example=(images,)).module(images), whole(images), rtol=1e-5)


def test_one_with_a_hook_or_a_child_is_looked_into():
    hooked, parent = norm(written_out), norm(written_out)
    hooked.register_forward_hook(lambda module, args, output: output * 2)
    parent.act = nn.ReLU()
    assert frozen_batch_norm(hooked) is None and frozen_batch_norm(parent) is None
