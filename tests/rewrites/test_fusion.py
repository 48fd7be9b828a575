"""Which layers fuse, and that a capped ReLU clamps before conversion and saturates after it."""

import copy
import io

import pytest
import torch
from eager_int8 import convert_network, convert_operation, quantize_like, sqnr
from passcheck import conv, images, model
from torch import nn
from torch.ao.quantization import fuse_modules
from torch.jit.mobile import _load_for_lite_interpreter

from rewrites import rewrite
from rewrites.fusion import CONVERT_MAPPING, FUSE_CONFIG, cut_out_rows, fusable_chains
from rewrites.modules import CappedReLU


def chains(original: nn.Module) -> list[list[str]]:
    return fusable_chains(rewrite(original).graph_module)


def sequence(*parts: nn.Module) -> nn.Module:
    names = dict(zip(("first", "second", "third", "fourth"), parts, strict=False))

    def forward(self, x):
        for name in names:
            x = getattr(self, name)(x)
        return x

    return model(forward, **names)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        pytest.param((nn.ReLU(), nn.MaxPool2d(2)), [], id="nothing to fuse"),
        pytest.param((conv(), nn.MaxPool2d(2)), [], id="a convolution alone"),
        pytest.param((conv(), nn.Hardswish()), [], id="an activation that does not fuse"),
        pytest.param((conv(), nn.BatchNorm2d(8, track_running_stats=False)), [], id="a norm without statistics"),
        pytest.param((conv(), nn.BatchNorm2d(8)), [["first", "second"]], id="conv, bn"),
        pytest.param((conv(), nn.ReLU()), [["first", "second"]], id="conv, relu"),
        pytest.param((conv(), nn.BatchNorm2d(8), nn.ReLU()), [["first", "second", "third"]], id="conv, bn, relu"),
        pytest.param((conv(), nn.BatchNorm2d(8), nn.ReLU6()), [["first", "second", "third"]], id="conv, bn, relu6"),
        pytest.param((nn.BatchNorm2d(8), nn.ReLU()), [["first", "second"]], id="bn, relu"),
        pytest.param((nn.Linear(8, 4), nn.ReLU()), [["first", "second"]], id="linear, relu"),
        pytest.param(
            (nn.ConvTranspose2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU()), [["first", "second"]], id="transposed"
        ),
        pytest.param((nn.BatchNorm2d(8), conv(), nn.ReLU()), [["second", "third"]], id="a norm before a convolution"),
    ],
)
def test_chains(parts, found):
    assert chains(sequence(*parts)) == found


def test_linear_batch_norm_and_relu_are_one():
    # fuse_modules has no function of its own for the three together
    original = sequence(nn.Flatten(), nn.Linear(512, 8), nn.BatchNorm1d(8), nn.ReLU())
    assert chains(original) == [["second", "third", "fourth"]]


TRANSPOSED = {
    "one group": lambda: (nn.ConvTranspose2d(8, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)),
    "groups": lambda: (nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, groups=2), nn.BatchNorm2d(6)),
    "depthwise": lambda: (nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8), nn.BatchNorm2d(8)),
    "depthwise with a multiplier": lambda: (nn.ConvTranspose2d(8, 16, 2, groups=8), nn.BatchNorm2d(16, affine=False)),
    "in one dimension": lambda: (nn.Flatten(2), nn.ConvTranspose1d(8, 4, 3, groups=4), nn.BatchNorm1d(4)),
    "in three": lambda: (nn.Unflatten(1, (4, 2)), nn.ConvTranspose3d(4, 6, 2, groups=2), nn.BatchNorm3d(6)),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_a_batch_norm_folds_into_a_transposed_convolution(name):
    # torch's own function takes the groups' outputs for the whole layer's
    torch.manual_seed(0)
    original = sequence(*TRANSPOSED[name]())
    for part in original.modules():
        if getattr(part, "running_mean", None) is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.eps = 0.1
            if part.affine:
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
    found = chains(original)
    assert len(found) == 1 and len(found[0]) == 2
    graph_module = rewrite(original).graph_module
    fuse_modules(graph_module, found, inplace=True, fuse_custom_config_dict=FUSE_CONFIG)
    x = images()[0]
    with torch.no_grad():
        torch.testing.assert_close(graph_module(x), original(x), rtol=1e-4, atol=1e-5)


def test_a_value_that_is_read_twice_does_not_fuse():
    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) + y

    assert chains(model(forward, conv=conv(), bn=nn.BatchNorm2d(8))) == []


def test_a_module_that_is_called_twice_does_not_fuse():
    original = model(lambda self, x: self.bn(self.conv(self.bn(self.conv(x)))), conv=conv(), bn=nn.BatchNorm2d(8))
    assert chains(original) == []


def test_a_module_whose_weight_is_read_by_name_does_not_fuse():
    # Fused, `conv.weight` would be somewhere else.
    def forward(self, x):
        return self.act(self.conv(x)) + (x.mean() * self.conv.weight).sum()

    assert chains(model(forward, conv=conv(), act=nn.ReLU())) == []


def test_a_module_that_is_only_asked_about_its_weight_fuses():
    original = model(lambda self, x: self.act(self.conv(x.to(self.conv.weight.dtype))), conv=conv(), act=nn.ReLU())
    assert chains(original) == [["conv", "act"]]


def networks() -> dict[str, nn.Module]:
    def residual(self, x):
        return self.act(self.conv2(self.inner(self.bn(self.conv1(x)))) + x)

    return {
        "conv, bn, relu6": sequence(conv(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), conv()),
        "conv, relu6": sequence(conv(8, 8, 3), nn.ReLU6(), conv()),
        "bn, relu6": sequence(nn.BatchNorm2d(8), nn.ReLU6(), conv()),
        "linear, relu6": sequence(nn.Linear(8, 8), nn.ReLU6(), nn.Linear(8, 8)),
        "add, relu6": model(
            residual, conv1=conv(), bn=nn.BatchNorm2d(8), inner=nn.ReLU6(), conv2=conv(), act=nn.ReLU6()
        ),
    }


def with_large_values(network: nn.Module) -> nn.Module:
    """Weights that drive many values past the cap."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.normal_(part.weight, std=0.8)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 2, 4)
    return network


@pytest.mark.parametrize("name", networks())
def test_fused_in_float_it_still_clamps(name):
    original = with_large_values(networks()[name])
    graph_module = rewrite(original).graph_module
    fused = copy.deepcopy(graph_module)
    fuse_modules(fused, fusable_chains(fused), inplace=True, fuse_custom_config_dict=FUSE_CONFIG)
    (image,) = images()
    with torch.no_grad():
        wanted = original(image)
        assert (fused(image) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("name", networks())
def test_converted_it_saturates_at_the_cap(name):
    original = with_large_values(networks()[name])
    batches = [images(seed=seed) for seed in range(4)]
    network = convert_network(rewrite(original).graph_module, batches)
    with torch.no_grad():
        assert sqnr(original(*batches[0]), network(*batches[0])) > 20


@pytest.mark.parametrize("parts", [(conv(8, 8, 3), nn.ReLU6()), (conv(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU6())])
def test_the_range_of_a_capped_convolution(parts):
    original = with_large_values(sequence(*parts))
    network = convert_network(rewrite(original).graph_module, [images()])
    capped = network.get_submodule("first")
    assert type(capped).__name__ == "ConvReLU2d" and ".quantized" in type(capped).__module__
    assert float(capped.scale) == pytest.approx(6 / 255) and int(capped.zero_point) == 0
    # Values past those it was calibrated on saturate at the cap as well.
    with torch.no_grad():
        assert network(images()[0] * 100).max() == pytest.approx(6)


def test_the_range_of_a_capped_sum():
    original = with_large_values(networks()["add, relu6"])
    network = convert_network(rewrite(original).graph_module, [images()])
    assert float(network.add_relu.op.scale) == pytest.approx(6 / 255) and int(network.add_relu.op.zero_point) == 0
    with torch.no_grad():
        assert network(images()[0] * 100).max() == pytest.approx(6)


def test_a_cap_that_is_never_reached_does_not_widen_the_range():
    original = sequence(conv(8, 8, 1), nn.ReLU6())
    nn.init.constant_(original.first.weight, 0.001)
    network = convert_network(rewrite(original).graph_module, [images()])
    assert float(network.first.scale) < 1 / 255


def test_capped_relu_in_float():
    values = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0])
    assert torch.equal(CappedReLU(6)(values), nn.ReLU6()(values))
    assert repr(CappedReLU(2.5)) == "CappedReLU(cap=2.5)"


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, torch.ao.nn.intrinsic.BNReLU2d])
def test_a_converted_batch_norm_runs_in_the_lite_interpreter(kind):
    # torch keeps its scale as a tensor of shape [1], on which a scripted model stops.
    norm = nn.BatchNorm2d(8).eval()
    module = norm if kind is nn.BatchNorm2d else kind(norm, nn.ReLU()).eval()
    assert module.__class__ in CONVERT_MAPPING
    image = quantize_like(images()[0])
    quantized = convert_operation(module, [image.dequantize()])
    script = torch.jit.script(quantized)
    lite = _load_for_lite_interpreter(io.BytesIO(script._save_to_buffer_for_lite_interpreter()))
    assert torch.equal(lite(image).int_repr(), quantized(image).int_repr())


def test_constants_that_layers_have_for_weights_are_parameters_when_no_checkpoint_will_come():
    class Blurred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("blur", torch.rand(8, 1, 3, 3), persistent=False)

        def forward(self, x):
            x = nn.functional.conv2d(x, self.blur, groups=8)
            return nn.functional.conv2d(x, self.blur, stride=2, groups=8)

    original = Blurred().eval()
    network = rewrite(original).graph_module
    assert list(network.parameters()) == []
    plain = cut_out_rows(copy.deepcopy(network))
    first, second = plain.get_submodule("conv"), plain.get_submodule("conv_1")
    assert isinstance(first.weight, nn.Parameter) and first.weight is second.weight
    assert torch.equal(plain(*images()), original(*images()))
    assert torch.equal(original.blur, network.get_submodule("conv").weight)
    exported = torch.export.export(plain, tuple(images()), strict=False)  # refuses a parameter that no checkpoint has
    assert torch.equal(exported.module()(*images()), original(*images()))
