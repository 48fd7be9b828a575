"""Frozen batch norms become ordinary ones in eval mode, which share their tensors and fold into convolutions."""

import re

import pytest
import torch
import torchvision
from passcheck import assert_same_results, check, conv, images, model, text
from torch import nn

from rewrites import rewrite
from rewrites.passes import UnfreezeBatchNorms

RULE = UnfreezeBatchNorms()


class FrozenBatchNorm2d(torchvision.ops.FrozenBatchNorm2d):
    """A class of the same name from elsewhere."""


def frozen(seed: int = 0, kind: type = torchvision.ops.FrozenBatchNorm2d, **settings: float) -> nn.Module:
    """One with statistics and weights that change what it is given."""
    torch.manual_seed(seed)
    made = kind(8, **settings)
    made.weight.copy_(torch.rand(8) + 0.5)
    made.bias.copy_(torch.randn(8))
    made.running_mean.copy_(torch.randn(8))
    made.running_var.copy_(torch.rand(8) + 0.1)
    return made


class Other(torchvision.ops.FrozenBatchNorm2d):
    """Computes something else under another name."""

    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize(
    "norm",
    [
        pytest.param(nn.BatchNorm2d(8), id="an ordinary batch norm"),
        pytest.param(nn.GroupNorm(2, 8), id="another norm"),
        pytest.param(frozen(kind=Other), id="a class of another name"),
    ],
)
def test_left_as_it_is(norm):
    checked = check(RULE, model(lambda self, x: self.norm(self.conv(x)), conv=conv(), norm=norm.eval()))
    assert checked.result.edits == ()


def test_one_of_that_name_without_the_four_buffers_is_looked_into():
    class FrozenBatchNorm2d(nn.Module):
        def forward(self, x):
            return x * 2

    checked = check(RULE, model(lambda self, x: self.norm(self.conv(x)), conv=conv(), norm=FrozenBatchNorm2d()))
    assert checked.result.edits == ()
    assert checked.lines[2] == "mul = conv * 2"


@pytest.mark.parametrize("kind", [torchvision.ops.FrozenBatchNorm2d, FrozenBatchNorm2d], ids=["torchvision", "other"])
@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_becomes_an_ordinary_one(kind, eps):
    original = model(lambda self, x: self.norm(self.conv(x)), conv=conv(), norm=frozen(kind=kind, eps=eps))
    checked = check(RULE, original)
    assert [re.sub(r"(?<=Norm2d)\(.*", "", line) for line in checked.changes] == text("""
        -norm = self.norm(conv)  # FrozenBatchNorm2d
        +norm = self.norm(conv)  # BatchNorm2d
    """)
    made = checked.graph_module.norm
    assert type(made) is nn.BatchNorm2d and made.eps == eps and not made.training
    assert made.track_running_stats
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert checked.whole.tolerance == RULE.tolerance == 1e-5
    assert checked.whole.islands == ()


def test_it_is_fused_with_its_convolution():
    original = nn.Sequential(conv(), frozen(), nn.ReLU())
    rewritten = rewrite(original)
    assert [line for line in rewritten.graph_module.state_dict() if "bn" in line] == [
        "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked",
    ]  # fmt: skip
    assert rewritten.key_map["1.running_mean"] == "bn.running_mean"


def test_a_shared_one_is_the_same_at_every_call():
    original = model(lambda self, x: self.norm(self.conv(self.norm(x))), conv=conv(), norm=frozen())
    checked = check(RULE, original)
    assert [line.partition("  #")[0] for line in checked.lines[1:-1]] == [
        "norm = self.norm(x)", "conv = self.conv(norm)", "norm_1 = self.norm(conv)",
    ]  # fmt: skip
    assert type(checked.graph_module.norm) is nn.BatchNorm2d


def test_an_original_checkpoint_loads():
    original = nn.Sequential(conv(), frozen(1), nn.ReLU())
    other = nn.Sequential(conv(), frozen(2), nn.ReLU()).eval()
    assert "1.num_batches_tracked" not in other.state_dict()
    rewritten = rewrite(original)
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [images()], rewritten.tolerance)
    with pytest.raises(AssertionError, match="is off"):
        assert_same_results(original.eval(), rewritten.graph_module, [images()], rewritten.tolerance)


SYNCHRONIZED = {
    "vectors": (nn.Linear(8, 8), nn.BatchNorm1d, (3, 8)),
    "images": (conv(), nn.BatchNorm2d, (2, 8, 6, 6)),
    "videos": (nn.Conv3d(8, 8, 3), nn.BatchNorm3d, (2, 8, 4, 6, 6)),
}


@pytest.mark.parametrize("settings", [{}, {"affine": False}, {"momentum": None}], ids=["", "not affine", "cumulative"])
@pytest.mark.parametrize("name", SYNCHRONIZED)
def test_one_of_several_processes_becomes_an_ordinary_one(name, settings):
    layer, kind, shape = SYNCHRONIZED[name]
    norm = nn.SyncBatchNorm(8, **settings)
    torch.manual_seed(4)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    original = nn.Sequential(layer, norm, nn.ReLU()).eval()
    x = torch.randn(shape)
    alone, whole = rewrite(original, [RULE], example=(x,)), rewrite(original, example=(x,))
    (made,) = [part for part in alone.module.modules() if type(part) is kind]
    assert (made.affine, made.momentum, made.training) == (norm.affine, norm.momentum, False)
    assert whole.unfolded_norms == () and whole.islands == ()
    with torch.no_grad():
        for given in (x, torch.randn(5, *shape[1:])):
            assert torch.equal(original(given), alone.module(given))
    assert_same_results(original, whole.module, [(x,)], whole.tolerance)
    whole.load_state_dict(original.state_dict())


def test_one_of_several_processes_whose_input_is_not_known_is_left_as_it_is():
    checked = check(RULE, model(lambda self, x: self.norm(self.conv(x)), conv=conv(), norm=nn.SyncBatchNorm(8)))
    assert checked.result.edits == ()
    assert list(checked.skips.values()) == ["whether it normalizes vectors, images or videos is not known"]
