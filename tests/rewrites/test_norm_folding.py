"""Where batch norms go: into the layer before or behind them, whatever asks for a shape or moves values between."""

import copy

import pytest
import torch
from eager_int8 import convert_network, sqnr
from passcheck import conv, model
from torch import Tensor, nn
from torch.ao.quantization import fuse_modules

from rewrites import DEFAULT_PASSES, rewrite
from rewrites.fusion import FUSE_CONFIG, NORMS, fold_norms_forward, fusable_chains
from rewrites.passes import QuantBoundaries


def varied(network: nn.Module) -> nn.Module:
    """With batch norms that do something to each channel."""
    torch.manual_seed(3)
    for part in network.modules():
        if isinstance(part, NORMS):
            if part.running_mean is not None:
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias)
    return network.eval()


def image(count: int = 2, height: int = 8, width: int = 8) -> Tensor:
    return torch.randn(count, 8, height, width, generator=torch.Generator().manual_seed(count))


def fused(network: nn.Module, x: Tensor) -> nn.Module:
    """The network rewritten and fused in float."""
    graph_module = copy.deepcopy(rewrite(network, example=(x,)).graph_module)
    fold_norms_forward(graph_module)
    if found := fusable_chains(graph_module):
        fuse_modules(graph_module, found, inplace=True, fuse_custom_config_dict=FUSE_CONFIG)
    return graph_module


def norms_in(module: nn.Module) -> int:
    return sum(isinstance(part, NORMS) for part in module.modules())


def asked_for_its_height(self, x):
    y = self.conv(x)
    h = y.shape[2]
    y = self.bn(y)
    return self.last(torch.relu(y)).flatten(2)[:, :, : h * y.size(3)]


def asked_between(self, x):
    y = self.conv(x)
    torch._assert(y.ndim == 4 and y.dtype == torch.float32, "images")
    y = self.bn(self.dropout(self.identity(y)))
    return self.last(torch.relu(y)) + torch.zeros(y.shape[0], 1, y.shape[2], y.shape[3], dtype=y.dtype)


def zeros_like_it(self, x):
    y = self.conv(x)
    zeros = torch.zeros_like(y)
    return self.last(self.bn(y).relu()) + zeros + y.new_ones(1)


def views_like_it(self, x):
    y = self.conv(x)
    return self.last(self.bn(y.reshape(y.shape)).relu().view_as(y))


def tokens_made_rows(self, x):
    y = self.linear(x.flatten(2).transpose(1, 2))
    return self.last(torch.relu(self.bn(y.flatten(0, 1)).reshape_as(y)))


def tokens_viewed_as_rows(self, x):
    y = self.linear(x.flatten(2).transpose(1, 2))
    return self.last(torch.relu(self.bn(y.reshape(-1, 6)).view(y.shape)))


def channels_second(self, x):
    return self.last(torch.relu(self.bn(self.linear(x.flatten(2).transpose(1, 2)).transpose(1, 2))).transpose(1, 2))


def image_of_linear(self, x):
    return self.last(torch.relu(self.bn(self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))))


def embedding(self, x):
    return self.last(self.bn(self.linear(x.mean((2, 3)))).relu())


def before_a_layer(self, x):
    return self.last(self.bn(torch.relu(self.conv(x))))


def before_a_reflecting_pad(self, x):
    return self.last(self.pad(self.bn(torch.relu(self.conv(x)))))


def before_an_average(self, x):
    return self.last(self.pool(self.bn(torch.relu(self.conv(x)))).flatten(1))


def before_a_mean(self, x):
    return self.last(self.bn(torch.relu(self.conv(x))).mean((-1, 2)))


def before_a_flattening(self, x):
    return self.last(torch.flatten(self.bn(torch.relu(self.conv(x))), 1))


def before_a_view(self, x):
    y = self.bn(torch.relu(self.conv(x)))
    return self.last(y.view(y.size(0), -1))


def before_two_layers(self, x):
    y = self.bn(torch.relu(self.conv(x)))
    return self.last(y) + self.other(y)


def in_rows(self, x):
    for norm in (self.first, self.second, self.third):
        x = norm(x)
    return self.last(torch.relu(x))


def before_two_batch_norms(self, x):
    y = self.bn(x)
    return self.last(self.third(self.second(y))) + self.other(self.fourth(y))


def linear_parts(norm: nn.Module, last: nn.Module) -> dict[str, nn.Module]:
    return {"linear": nn.Linear(8, 6, bias=False), "bn": norm, "last": last}


def conv_parts(last: nn.Module, **others: nn.Module) -> dict[str, nn.Module]:
    return {"conv": conv(8, 8, 3), "bn": nn.BatchNorm2d(8), "last": last, **others}


def one_of_pixels_in_a_row(self, x):
    return self.last(self.act(self.bn(self.conv(x).flatten(2))))


FOLDED = {
    "one over pixels in a row": (
        one_of_pixels_in_a_row,
        {"conv": conv(8, 6), "bn": nn.BatchNorm1d(6), "act": nn.Identity(), "last": nn.Conv1d(6, 4, 1)},
    ),
    "one over pixels in a row, with its ReLU": (
        one_of_pixels_in_a_row,
        {"conv": conv(8, 6), "bn": nn.BatchNorm1d(6), "act": nn.ReLU(), "last": nn.Conv1d(6, 4, 1)},
    ),
    "one over pixels in a row behind a transposed convolution": (
        one_of_pixels_in_a_row,
        {
            "conv": nn.ConvTranspose2d(8, 6, 2, 2), "bn": nn.BatchNorm1d(6), "act": nn.ReLU6(),
            "last": nn.Conv1d(6, 4, 1),
        },
    ),
    "its shape is asked for": (asked_for_its_height, conv_parts(conv())),
    "asserts, dropout and identity between": (
        asked_between, conv_parts(conv(8, 6), identity=nn.Identity(), dropout=nn.Dropout(0.5)),
    ),
    "zeros like it": (zeros_like_it, conv_parts(conv())),
    "viewed as it": (views_like_it, conv_parts(conv())),
    "rows of tokens": (tokens_made_rows, linear_parts(nn.BatchNorm1d(6), nn.Linear(6, 4))),
    "rows by a view": (tokens_viewed_as_rows, linear_parts(nn.BatchNorm1d(6), nn.Linear(6, 4))),
    "channels of tokens second": (channels_second, linear_parts(nn.BatchNorm1d(6), nn.Linear(6, 4))),
    "an image of a linear layer": (image_of_linear, linear_parts(nn.BatchNorm2d(6), conv(6, 4))),
    "linear, two dimensions": (embedding, linear_parts(nn.BatchNorm1d(6), nn.Linear(6, 4))),
    "linear, without affine": (embedding, linear_parts(nn.BatchNorm1d(6, affine=False), nn.Linear(6, 4))),
    "linear, momentum None": (embedding, linear_parts(nn.BatchNorm1d(6, momentum=None), nn.Linear(6, 4))),
    "into a convolution behind": (before_a_layer, conv_parts(conv(8, 6, 3))),
    "into groups behind": (before_a_layer, conv_parts(conv(8, 6, 3, groups=2, bias=False))),
    "into a convolution that reflects": (
        before_a_layer, conv_parts(conv(8, 6, 3, padding=1, padding_mode="reflect")),
    ),
    "into a convolution behind a pad that reflects": (
        before_a_reflecting_pad, conv_parts(conv(8, 6, 3), pad=nn.ReflectionPad2d(1)),
    ),
    "through an average": (before_an_average, conv_parts(nn.Linear(8, 5), pool=nn.AdaptiveAvgPool2d(1))),
    "through a mean": (before_a_mean, conv_parts(nn.Linear(8, 5))),
    "into a linear layer behind": (before_a_flattening, conv_parts(nn.Linear(288, 5))),
    "into one behind a view": (before_a_view, conv_parts(nn.Linear(288, 5, bias=False))),
    "into two layers behind": (before_two_layers, conv_parts(conv(8, 6), other=conv(8, 6))),
    "into the next batch norm": (
        in_rows,
        {"first": nn.BatchNorm2d(8), "second": nn.BatchNorm2d(8, affine=False), "third": conv(), "last": conv()},
    ),
    "into two batch norms, one of them in front of another": (
        before_two_batch_norms,
        {
            "bn": nn.BatchNorm2d(8), "second": nn.BatchNorm2d(8), "third": nn.BatchNorm2d(8),
            "fourth": nn.BatchNorm2d(8, affine=False), "last": conv(), "other": conv(),
        },
    ),
    "several behind a convolution": (
        in_rows,
        {"first": conv(), "second": nn.BatchNorm2d(8, eps=0.1), "third": nn.BatchNorm2d(8), "last": conv()},
    ),
}  # fmt: skip
# The engine pads by reflection and convolves in two operations.
IN_INT8 = sorted(set(FOLDED) - {"into a convolution that reflects"})
# What does not depend on the height and width of the image.
ANY_SIZE = sorted(set(FOLDED) - {"into a linear layer behind", "into one behind a view"})


@pytest.mark.parametrize("name", FOLDED)
def test_it_is_folded(name):
    forward, parts = FOLDED[name]
    network = varied(model(forward, **copy.deepcopy(parts)))
    rewritten, made = rewrite(network, example=(image(),)), fused(network, image())
    assert rewritten.unfolded_norms == () and norms_in(made) == 0 and norms_in(network) > 0
    sizes = [(1, 8, 8), (3, 8, 8), *([(2, 7, 12)] if name in ANY_SIZE else [])]
    with torch.no_grad():
        for x in (image(*size) for size in sizes):
            wanted = network(x)
            assert (made(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
            assert (rewritten.module(x) - wanted).abs().max() <= rewritten.tolerance * wanted.abs().max()


@pytest.mark.parametrize("name", IN_INT8)
def test_folded_it_answers_the_same_in_int8(name):
    forward, parts = FOLDED[name]
    network = varied(model(forward, **copy.deepcopy(parts)))
    rewritten = rewrite(network, example=(image(),)).graph_module
    quantized = convert_network(rewritten, [(image(4),)])
    kinds = {type(part) for part in quantized.modules()}
    assert not kinds & {nn.Conv2d, nn.Linear} and not any("BatchNorm" in kind.__name__ for kind in kinds)
    with torch.no_grad():
        assert sqnr(network(image(4)), quantized(image(4))) > 20


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(8, affine=False), nn.BatchNorm2d(8, eps=0.1)], ids=["plain", "affine"])
def test_one_that_stands_alone_is_int8_with_or_without_a_weight(norm):
    network = varied(
        model(
            lambda self, x: self.last(self.bn(self.conv(x).relu())), conv=conv(), bn=norm, last=conv(8, 4, 3, padding=1)
        )
    )
    rewritten = rewrite(network, example=(image(),))
    assert len(rewritten.unfolded_norms) == 1 and rewritten.islands == ()
    quantized = convert_network(rewritten.graph_module, [(image(4),)])
    with torch.no_grad():
        assert sqnr(network(image(4)), quantized(image(4))) > 20


def test_the_parameters_of_the_model_stay_what_they_are():
    network = varied(model(before_two_layers, **conv_parts(conv(8, 6), other=conv(8, 6))))
    state = {key: value.clone() for key, value in network.state_dict().items()}
    fused(network, image())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


# -- what stands alone, and why ------------------------------------------------------------------------


def over_tokens(self, x):
    return self.last(torch.relu(self.bn(self.linear(x.flatten(2)))))


def read_twice(self, x):
    y = self.conv(x)
    return self.last(self.bn(y).relu()) + y.mean()


def called_twice(self, x):
    return self.last(torch.relu(self.bn(self.conv(x)) + self.bn2(self.conv(x + 1))))


def shared_norm(self, x):
    return self.last(torch.relu(self.bn(self.conv(x)) + self.bn(self.other(x))))


def behind_a_sum(self, x):
    y = self.conv(x)
    return self.last(self.bn(y + y.mean()).relu())


def as_a_branch(self, x):
    x = torch.relu(self.first(x))
    return self.last(torch.relu(0 + self.bn(x) + self.norm(self.conv(x))))


def other_channels(self, x):
    return self.last(torch.relu(self.bn(self.conv(x).transpose(1, 3))))


def read_by_name(self, x):
    return self.last(torch.relu(self.bn(self.conv(x)))) + (x.mean() * self.bn.weight).sum()


ALONE = {
    "over tokens": (
        over_tokens,
        {"linear": nn.Linear(64, 8), "bn": nn.BatchNorm1d(8), "last": nn.Linear(8, 4)},
        "over tokens, it normalizes the second dimension, and the features of linear are the last; "
        "relu (ReLU), which reads it, is no layer to fold it into",
    ),
    "read elsewhere too": (
        read_twice,
        conv_parts(conv()),
        "its input is read elsewhere too, by mean; relu (ReLU), which reads it, is no layer to fold it into",
    ),
    "a convolution called twice": (
        called_twice,
        conv_parts(conv(), bn2=nn.BatchNorm2d(8)),
        "conv (Conv2d), in front of it, is called 2 times, with one set of weights; relu (AddReLU), which reads it, is "
        "no layer to fold it into",
    ),
    "called twice": (
        shared_norm,
        {"conv": conv(), "other": conv(), "bn": nn.BatchNorm2d(8), "last": conv()},
        "it is called 2 times, with one set of weights",
    ),
    "behind a sum": (
        behind_a_sum,
        conv_parts(conv()),
        "add (Add), in front of it, is no convolution or linear layer; relu (ReLU), which reads it, is no layer to "
        "fold it into",
    ),
    "in front of padding": (
        before_a_layer,
        conv_parts(conv(8, 8, 3, padding=1)),
        "relu (ReLU), in front of it, is no convolution or linear layer; last, which reads it, pads with zeros, in "
        "whose place its shift would have to stand",
    ),
    "statistics of its input": (
        before_a_layer,
        {"conv": conv(), "bn": nn.BatchNorm2d(8, track_running_stats=False), "last": conv()},
        "it keeps no running statistics: it normalizes by those of its input",
    ),
    "a branch by itself": (
        as_a_branch,
        {
            **conv_parts(conv()),
            "conv": conv(8, 8, 3, padding=2, dilation=2),
            "first": conv(),
            "norm": nn.BatchNorm2d(8),
        },
        "it is a branch by itself, added to what conv makes of the same value, and merge-branches did not merge the "
        "two",
    ),
    "another dimension": (
        other_channels,
        conv_parts(conv()) | {"conv": conv(8, 6)},
        "it normalizes other channels than conv gives; relu (ReLU), which reads it, is no layer to fold it into",
    ),
    "read by name": (read_by_name, conv_parts(conv()), "it has weights that are also read by name"),
}


@pytest.mark.parametrize("name", ALONE)
def test_it_stands_alone_and_says_why(name):
    forward, parts, reason = ALONE[name]
    network = varied(model(forward, **copy.deepcopy(parts)))
    rewritten, made = rewrite(network, example=(image(),)), fused(network, image())
    found = [(norm.node, norm.reason) for norm in rewritten.unfolded_norms]
    assert ("bn", reason) in found
    assert norms_in(made) == len({norm.node for norm in rewritten.unfolded_norms if norm.node in ("bn", "bn2")})
    with torch.no_grad():
        assert torch.allclose(made(image(3)), network(image(3)), rtol=1e-4, atol=1e-5)


def test_a_linear_layer_of_unknown_rank_keeps_its_batch_norm():
    network = varied(model(lambda self, x: self.bn(self.linear(x)), linear=nn.Linear(8, 8), bn=nn.BatchNorm1d(8)))
    (norm,) = rewrite(network).unfolded_norms
    assert norm.reason.startswith("how many dimensions linear gives is not known, and its features are the last; ")
    assert rewrite(network, example=(torch.randn(2, 8),)).unfolded_norms == ()
    (norm,) = rewrite(network, example=(torch.randn(2, 8, 8),)).unfolded_norms
    assert norm.reason.startswith("over tokens, ")


def test_between_an_int8_and_a_float_reader_it_runs_in_float_by_itself():
    def forward(self, x):
        y = self.bn(torch.relu(self.conv(x)))
        return self.last(y), self.other(y.unsqueeze(4))

    parts = conv_parts(conv(), other=nn.Conv3d(8, 4, 1))
    network = varied(model(forward, **parts))
    rewritten = rewrite(network, example=(image(),))
    (norm,) = rewritten.unfolded_norms
    assert norm.node == "bn"
    with torch.no_grad():
        for wanted, found in zip(network(image(3)), fused(network, image())(image(3)), strict=True):
            assert torch.allclose(wanted, found, rtol=1e-4, atol=1e-5)


def test_kept_in_float_the_layer_keeps_its_batch_norm_with_it():
    network = varied(model(before_a_layer, **conv_parts(conv(8, 6, 3))))
    kept = [*DEFAULT_PASSES[:-1], QuantBoundaries({"last": "as asked"})]
    rewritten = rewrite(network, kept, example=(image(),))
    assert rewritten.unfolded_norms == ()
    assert {name for island in rewritten.islands for name in island.nodes} == {"bn", "last"}
