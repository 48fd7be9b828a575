"""A channel count that layers fix, and a type, is written out where a constant is made by it."""

import pytest
import torch
import torch.nn.functional as F
from passcheck import assert_same_results, check, conv, images, model, text
from torch import nn

from rewrites import rewrite
from rewrites.passes import KnownFacts

RULE = KnownFacts()


def kernel() -> torch.Tensor:
    return torch.rand(3, 3, generator=torch.Generator().manual_seed(0))


def parts() -> dict[str, object]:
    return {"conv": conv(8, 6), "norm": nn.BatchNorm2d(6), "blur": kernel()}


def test_groups_and_a_kernel_for_each_channel():
    def forward(self, x):
        x = self.norm(self.conv(x))
        return F.conv2d(x, self.blur.expand(x.shape[1], 1, 3, 3), groups=x.size(1))

    checked = check(RULE, model(forward, **parts()))
    assert checked.changes == text("""
        -getattr_1 = norm.shape
        -getitem = getattr_1[1]
        -expand = blur.expand(getitem, 1, 3, 3)
        -size = norm.size(1)
        -conv2d = F.conv2d(norm, expand, groups=size)
        +expand = blur.expand(6, 1, 3, 3)
        +conv2d = F.conv2d(norm, expand, groups=6)
    """)
    assert checked.whole.islands == ()


# Ways from a layer to the value whose channels are counted.
WAYS = {
    "a convolution": lambda self, x: self.conv(x),
    "an activation": lambda self, x: F.relu(self.conv(x)),
    "a pad and a pool": lambda self, x: F.max_pool2d(F.pad(self.conv(x), (1, 1, 1, 1)), 3),
    "a sum": lambda self, x: self.conv(x) + self.norm(self.conv(x)).sigmoid(),
    "a gate": lambda self, x: self.conv(x) * self.conv(x).mean((2, 3), keepdim=True),
    "a blurred one": lambda self, x: F.conv2d(self.conv(x), self.blur.expand(6, 1, 3, 3), groups=6),
    "a reflection": lambda self, x: nn.functional.pad(self.conv(x), (1, 1, 1, 1), mode="reflect"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("dim", [1, -3])
def test_what_has_the_channels_of_a_layer(way, dim):
    def forward(self, x):
        x = way(self, x)
        return F.conv2d(x, self.blur.to(x)[None, None].repeat(x.shape[dim], 1, 1, 1), groups=x.shape[dim])

    original = model(forward, **parts())
    rewritten = rewrite(original, example=images())
    assert rewritten.islands == ()
    assert_same_results(original, rewritten.graph_module, [images(), images(3, (3, 8, 9, 12))], rewritten.tolerance)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(lambda self, x: x, id="the input"),
        pytest.param(lambda self, x: torch.cat([self.conv(x), x], 1), id="joined with the input"),
        pytest.param(lambda self, x: self.conv(x).transpose(1, 2), id="turned"),
        pytest.param(lambda self, x: F.pad(self.conv(x), (0, 0, 0, 0, 1, 1)), id="padded channels"),
        pytest.param(lambda self, x: conv_of_one(x) * x, id="one channel that is broadcast"),
    ],
)
def test_other_channels_are_left_alone(way):
    def forward(self, x):
        x = way(self, x)
        return F.conv2d(x, self.blur.expand(x.shape[1], 1, 3, 3), groups=x.shape[1])

    original = model(forward, **parts())
    rewritten = rewrite(original, example=images())
    (result,) = [result for result in rewritten.results if result.name == RULE.name]
    assert result.edits == ()
    assert_same_results(original, rewritten.graph_module, [images()])


# Ways from the model's input to a layer that fixes how many channels it has.
FIXING = {
    "a layer that reads it": lambda self, x, y: self.conv(x) + y.mean(),
    "a layer that reads what is made of it": lambda self, x, y: self.conv(F.max_pool2d(F.relu(x), 2)).mean() + y,
    "a norm": lambda self, x, y: self.wide(x) + y.mean(),
    "a functional convolution": lambda self, x, y: F.conv2d(x, self.weight) + y.mean(),
    "a layer that reads the result": lambda self, x, y: self.conv(y),
    "a layer behind an activation of it": lambda self, x, y: self.conv(F.avg_pool2d(F.relu(y), 2)),
}


@pytest.mark.parametrize("fixing", FIXING.values(), ids=FIXING)
def test_the_channels_of_the_input_that_a_layer_fixes(fixing):
    def forward(self, x):
        kernel = self.blur.expand(x.shape[1], 1, 3, 3)
        return fixing(self, x, F.conv2d(x, kernel, padding=1, groups=x.size(1)))

    weight = torch.rand(4, 8, 1, 1)
    original = model(forward, **parts(), wide=nn.BatchNorm2d(8), weight=weight)
    rewritten = rewrite(original, example=images())
    assert not [island for island in rewritten.islands if "conv2d" in island.nodes]
    batches = [images(), images(3, (3, 8, 9, 12))]
    assert_same_results(original, rewritten.graph_module, batches, rewritten.tolerance)


def wavelets() -> torch.Tensor:
    low, high = torch.tensor([0.5, 0.5]), torch.tensor([-0.5, 0.5])
    return torch.stack([a[:, None] * b for a in (low, high) for b in (low, high)])[:, None]


@pytest.mark.parametrize("way", ["x.shape[1]", "x.size(1)"])
def test_wavelets_of_the_input(way):
    def forward(self, x):
        channels = x.shape[1] if way == "x.shape[1]" else x.size(1)
        kernel = self.haar.repeat(channels, 1, 1, 1)
        y = F.relu(self.mix(F.conv2d(x, kernel, stride=2, groups=channels)))
        return F.conv_transpose2d(y, kernel, stride=2, groups=channels)

    original = model(forward, haar=wavelets(), mix=conv(12, 12, 3, padding=1))
    rewritten = rewrite(original, example=images(1, (2, 3, 8, 8)))
    assert rewritten.islands == ()
    kinds = [type(module) for module in rewritten.module.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.ConvTranspose2d)) == (2, 1)
    assert_same_results(original, rewritten.module, [images(1, (2, 3, 8, 8)), images(2, (1, 3, 12, 6))])


def test_channels_that_nothing_but_the_example_has_are_left_alone():
    def forward(self, x):
        y = F.conv2d(x, self.haar.repeat(x.shape[1], 1, 1, 1), stride=2, groups=x.shape[1])
        return F.conv2d(torch.cat([y, y], 1), self.weight)

    original = model(forward, haar=wavelets(), weight=torch.rand(4, 24, 1, 1))
    rewritten = rewrite(original, example=images(1, (2, 3, 8, 8)))
    (result,) = [result for result in rewritten.results if result.name == RULE.name]
    assert result.edits == ()
    (skips,) = [result.skips for result in rewritten.results if result.name == "functional-convolution"]
    assert [skip.reason for skip in skips] == ["its weight depends on the size of the input"]


def conv_of_one(x: torch.Tensor) -> torch.Tensor:
    return F.conv2d(x.mean(1, keepdim=True), torch.ones(1, 1, 1, 1))


def test_sizes_that_are_read_for_something_else_stay():
    def forward(self, x):
        x = self.norm(self.conv(x))
        return x.reshape(x.shape[0], x.shape[1], -1)

    assert check(RULE, model(forward, **parts())).result.edits == ()


def test_the_type_of_a_value():
    def forward(self, x):
        return F.conv2d(x.mean(1, keepdim=True), self.blur.double().view(1, 1, 3, 3).to(x))

    original = model(forward, blur=kernel())
    rewritten = rewrite(original, example=images())
    (result,) = [result for result in rewritten.results if result.name == RULE.name]
    assert [edit.reason for edit in result.edits] == ["x is torch.float32"]
    assert_same_results(original, rewritten.graph_module, [images()])
    assert not any("conv2d" in island.nodes for island in rewritten.islands)
