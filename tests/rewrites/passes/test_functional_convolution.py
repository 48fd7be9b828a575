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
    ("function", "dims"),
    [(F.conv_transpose1d, 1), (F.conv_transpose2d, 2), (F.conv_transpose3d, 3)],
    ids=["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"],
)
def test_transposed_in_every_dimension(function, dims):
    original = model(
        lambda self, x: function(x, self.kernel, self.shift, 2, 1, 1, 2, [1]),
        kernel=weight(8, 3, *[3] * dims), shift=weight(6),
    )  # fmt: skip
    checked = check(RULE, original, *images(shape=(2, 8, *[6] * dims)))
    made = checked.graph_module.get_submodule("conv")
    assert type(made).__name__ == f"ConvTranspose{dims}d"
    assert (made.out_channels, made.groups, made.output_padding) == (6, 2, (1,) * dims)
    assert bool(checked.whole.islands) == (dims == 3)


@pytest.mark.parametrize(
    ("transposed", "kind"), [(False, "Conv2d"), (True, "ConvTranspose2d")], ids=["plain", "transposed"]
)
def test_the_function_that_is_both(transposed, kind):
    def forward(self, x):
        return torch.convolution(x, self.kernel, None, [2, 2], [1, 1], [1, 1], transposed, [0, 0], 2)

    checked = check(RULE, model(forward, kernel=weight(8, 4, 3, 3)))
    assert type(checked.graph_module.get_submodule("conv")).__name__ == kind
    assert checked.whole.islands == ()


def test_one_number_in_a_list_is_one_for_all_dimensions():
    def forward(self, x):
        return F.conv2d(input=x, weight=self.kernel, stride=(2,), padding=[1], dilation=(1,))

    checked = check(RULE, model(forward, kernel=weight(4, 8, 3, 3)))
    made = checked.graph_module.get_submodule("conv")
    assert (made.stride, made.padding, made.dilation) == ((2, 2), (1, 1), (1, 1))


@pytest.mark.parametrize("persistent", [True, False], ids=["in checkpoints", "not in checkpoints"])
def test_a_buffer(persistent):
    original = model(lambda self, x: F.conv2d(x, self.blur, groups=8))
    original.register_buffer("blur", weight(8, 1, 3, 3).detach(), persistent)
    checked = check(RULE, original)
    assert dict(checked.whole.key_map) == ({"blur": "conv.weight"} if persistent else {})
    assert checked.whole.islands == ()


# Weights that are worked out of parameters and buffers alone.
COMPUTED = {
    "standardized": lambda self, x: self.w - self.w.mean((1, 2, 3), keepdim=True),
    "by std_mean": lambda self, x: (self.w - torch.std_mean(self.w, [1, 2, 3], keepdim=True)[1]) / self.w.std(),
    "by batch_norm": lambda self, x: F.batch_norm(
        self.w.view(1, 8, -1), None, None, self.g.view(-1), None, True, 0.0, 1e-6
    ).view_as(self.w),
    "masked": lambda self, x: self.w * self.mask,
    "sliced and flipped": lambda self, x: torch.flip(self.w[:, :8], [2, 3]),
    "detached, cloned, cast": lambda self, x: self.w.detach().clone().to(x.dtype).type_as(x).to(x),
    "data": lambda self, x: self.w.data,
    "normalized": lambda self, x: F.normalize(self.w, dim=1),
    "spectral": lambda self, x: self.w / torch.dot(self.u, torch.mv(self.w.view(8, -1), self.v)),
    "sum of kernels": lambda self, x: self.w + F.pad(self.g.expand(8, 8, 1, 1), [1, 1, 1, 1]),
    "rounded": lambda self, x: self.w + ((self.w / 0.05).round() * 0.05 - self.w).detach(),
    "of a layer": lambda self, x: self.hyper(self.g.view(1, 8)).view(8, 8, 1, 1),
    "blurred": lambda self, x: self.blur.to(x).expand(8, 8, 3, 3),
}


@pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
def test_a_weight_worked_out_of_parameters(compute):
    def build() -> nn.Module:
        return model(
            lambda self, x: F.relu(F.conv2d(self.first(x), compute(self, x), self.b, padding=1)),
            w=weight(8, 8, 3, 3), g=weight(8, 1, 1, 1), b=weight(8), mask=(weight(8, 8, 3, 3) > 0).float(),
            u=weight(8).detach(), v=weight(72).detach(), blur=weight(3, 3).detach(), hyper=nn.Linear(8, 64),
            first=conv(),
        )  # fmt: skip

    torch.manual_seed(0)
    original, other = build(), build()
    with torch.no_grad():
        for tensor in other.parameters():
            tensor.uniform_(-1, 1)
    (batch,) = images()
    rewritten = rewrite(original, example=(batch,))
    assert rewritten.islands == ()
    assert_same_results(original, rewritten.graph_module, [(batch,), images(2, (3, 8, 12, 10))])
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [(batch,)])


def test_calls_with_one_weight_call_one_layer():
    def forward(self, x):
        for _ in range(3):
            x = F.relu(F.conv2d(x, self.kernel, self.shift, padding=1))
        return x

    checked = check(RULE, model(forward, kernel=weight(8, 8, 3, 3), shift=weight(8)))
    assert sum("self.conv(" in line for line in checked.lines) == 3
    assert len(list(checked.graph_module.children())) == 1 and checked.whole.islands == ()


def test_calls_with_one_weight_and_other_settings_share_it():
    def forward(self, x):
        return F.conv2d(x, self.kernel, padding=1) + F.conv2d(x, self.kernel, padding=2, dilation=2)

    checked = check(RULE, model(forward, kernel=weight(8, 8, 3, 3)))
    first, second = checked.graph_module.get_submodule("conv"), checked.graph_module.get_submodule("conv_1")
    assert first.weight is second.weight and checked.whole.islands == ()


@pytest.mark.parametrize(
    ("original", "lines"),
    [
        pytest.param(
            model(lambda self, x: F.conv2d(x, self.kernel) * self.kernel.mean(), kernel=weight(4, 8, 1, 1)),
            ["conv2d = self.conv(x)  # Conv2d", "kernel = self.kernel"],
            id="read elsewhere",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(self.conv(x), self.conv.weight), conv=conv()),
            ["conv = self.conv(x)  # Conv2d", "conv2d = self.conv_1(conv)  # Conv2d"],
            id="the weight of a layer",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(self.conv(x), self.conv.weight, self.conv.bias), conv=conv()),
            ["conv = self.conv(x)  # Conv2d", "conv2d = self.conv(conv)  # Conv2d"],
            id="what a layer of the model does",
        ),
        pytest.param(
            model(lambda self, x: F.conv_transpose2d(self.conv(x), self.conv.weight, padding=0), conv=conv()),
            ["conv = self.conv(x)  # Conv2d", "conv_transpose2d = self.conv_1(conv)  # ConvTranspose2d"],
            id="tied to the weight of a layer",
        ),
    ],
)
def test_a_weight_that_others_read(original, lines):
    checked = check(RULE, original)
    assert set(lines) <= set(checked.lines)
    assert not any(node.startswith("conv") for island in checked.whole.islands for node in island.nodes)


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        pytest.param(
            model(lambda self, x: self.conv(x), conv=Standardized(8, 8, 1)),
            "its weight is computed when the model runs; a module's is a parameter",
            id="a computed weight, of which fold-constants makes a constant",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(x, self.kernel * x.mean()), kernel=weight(4, 8, 1, 1)),
            "its weight is computed from the input",
            id="a weight of the input",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(x, self.kernel, self.shift * x.mean()), kernel=weight(4, 8, 1, 1),
                  shift=weight(4)),
            "its bias is computed from the input",
            id="a bias of the input",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(x, self.kernel + torch.randn_like(self.kernel) * 0),
                  kernel=weight(4, 8, 1, 1)),
            "its weight is made of random numbers",
            id="random numbers",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(x, self.kernel.expand(x.size(1), 8, 1, 1)), kernel=weight(1, 8, 1, 1)),
            "its weight depends on the size of the input",
            id="a size",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(x, self.kernel, stride=x.size(1) // 4), kernel=weight(4, 8, 1, 1)),
            "its settings are computed when the model runs; a module's are fixed",
            id="computed settings",
        ),
        pytest.param(
            model(lambda self, x: F.conv2d(x.double(), self.k).float(), k=weight(4, 8, 1, 1).detach().double()),
            "its weight is torch.float64; int8 layers are made of float32",
            id="another type",
        ),
    ],
)  # fmt: skip
def test_refuses(original, reason):
    checked = check(RULE, original)
    assert list(checked.skips.values()) == [reason]
    assert checked.result.edits == ()


def test_a_weight_that_the_forward_changes():
    original = model(lambda self, x: F.conv2d(x, self.kernel.mul_(0.5)), kernel=weight(4, 8, 1, 1).detach())
    after = model(lambda self, x: (self.kernel.mul_(0.5), F.conv2d(x, self.kernel))[1], kernel=original.kernel.clone())
    for changing in (original, after):
        rewritten = rewrite(changing, example=images())
        (skip,) = [skip for result in rewritten.results if result.name == RULE.name for skip in result.skips]
        assert skip.reason == "its weight is made of kernel, which the forward changes"
        assert any(skip.reason in island.reason for island in rewritten.islands)


def test_the_reason_is_that_of_the_report():
    original = model(lambda self, x: F.conv2d(self.conv(x), self.k * x.mean()), conv=conv(), k=weight(8, 8, 1, 1))
    assert any("its weight is computed from the input" in i.reason for i in check(RULE, original).whole.islands)


def test_layers_as_modules_are_left_alone():
    assert check(RULE, nn.Sequential(conv(), nn.ConvTranspose2d(8, 8, 1))).result.edits == ()


def test_other_weights_load():
    original, other = (nn.Sequential(conv(), Simple()) for _ in range(2))
    rewritten = rewrite(original, [DropInferenceNoops(), RULE])
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other.eval(), rewritten.graph_module, [images()])
