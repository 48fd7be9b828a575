"""Functional convolutions on a parameter, and subclasses that inherit their forward, become modules."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import assert_same_results, check, conv, images, model, text
from torch import nn

from rewrites import rewrite
from rewrites.passes import FunctionalConvolution
from rewrites.passes.drop_inference_noops import DropInferenceNoops

RULE = FunctionalConvolution()


class Simple(nn.Conv2d):
    """A layer that brings its settings and nothing else."""

    def __init__(self) -> None:
        super().__init__(8, 8, 3, padding=1, bias=False)


class Shifted(nn.Conv2d):
    """A layer that does more than convolve."""

    def forward(self, x):
        return super().forward(x) + 1


class Standardized(nn.Conv2d):
    """Weight standardization: the weight is computed at every call."""

    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(0)))


def test_a_subclass_is_the_layer_it_was():
    checked = check(RULE, nn.Sequential(nn.Tanh(), Simple(), nn.BatchNorm2d(8), nn.ReLU()))
    assert checked.changes == text("""
        -_1_weight = self.1.weight
        -conv2d = F.conv2d(_0, _1_weight, None, (1, 1), (1, 1), (1, 1), 1)
        +conv2d = self.1(_0)  # Conv2d
    """)
    assert checked.whole.key_map["1.weight"] == "conv.weight"
    assert checked.whole.islands == ()


def test_a_parameter_of_the_models_own():
    def forward(self, x):
        return F.conv2d(x, self.kernel, self.shift, stride=2, groups=2)

    original = model(forward, kernel=weight(4, 4, 3, 3), shift=weight(4))
    checked = check(RULE, original)
    made = checked.graph_module.get_submodule("conv")
    assert (made.stride, made.groups, made.in_channels, made.kernel_size) == ((2, 2), 2, 8, (3, 3))
    assert set(checked.graph_module.state_dict()) == {"conv.weight", "conv.bias"}
    assert dict(checked.whole.key_map) == {"kernel": "conv.weight", "shift": "conv.bias"}
    assert checked.whole.islands == ()


def test_a_subclass_that_does_more_holds_the_layer():
    checked = check(RULE, nn.Sequential(nn.Tanh(), Shifted(8, 8, 1), nn.ReLU()))
    assert "conv2d = self.1.conv(_0)  # Conv2d" in checked.lines
    assert checked.whole.islands == ()


@pytest.mark.parametrize(
    ("function", "dims"), [(F.conv1d, 1), (F.conv2d, 2), (F.conv3d, 3)], ids=["conv1d", "conv2d", "conv3d"]
)
def test_in_every_dimension(function, dims):
    original = model(lambda self, x: function(x, self.kernel, padding="same"), kernel=weight(4, 8, *[3] * dims))
    checked = check(RULE, original, *images(shape=(2, 8, *[6] * dims)))
    assert [type(part).__name__ for part in checked.graph_module.children()] == [f"Conv{dims}d"]


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        pytest.param(
            model(lambda self, x: self.conv(x), conv=Standardized(8, 8, 1)),
            "its weight is computed when the model runs; a module's is a parameter",
            id="a computed weight",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(x, self.kernel), kernel=weight(4, 8, 1, 1).detach()),
            "its weight is computed when the model runs; a module's is a parameter",
            id="a buffer",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(x, self.kernel) * self.kernel.mean(), kernel=weight(4, 8, 1, 1)),
            "kernel is also read elsewhere",
            id="read elsewhere",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(self.conv(x), self.conv.weight), conv=conv()),
            "conv.weight is also read elsewhere",
            id="the weight of a layer",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(x, self.kernel, stride=x.size(1) // 4), kernel=weight(4, 8, 1, 1)),
            "its settings are computed when the model runs; a module's are fixed",
            id="computed settings",
        ),
    ],
)
def test_refuses(original, reason):
    checked = check(RULE, original)
    assert list(checked.skips.values()) == [reason]
    assert checked.result.edits == ()


def test_layers_as_modules_are_left_alone():
    assert check(RULE, nn.Sequential(conv(), nn.ConvTranspose2d(8, 8, 1))).result.edits == ()


def test_other_weights_load():
    original, other = (nn.Sequential(conv(), Simple()) for _ in range(2))
    rewritten = rewrite(original, [DropInferenceNoops(), RULE])
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other.eval(), rewritten.graph_module, [images()])
