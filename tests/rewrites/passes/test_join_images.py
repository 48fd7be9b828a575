"""Neighbouring layers on the same images of a video hand on the images themselves."""

import pytest
import torch
from passcheck import check, images, model
from torch import nn

from rewrites.passes import ArithmeticToFunctional, FactorConv3d, FactorPool3d, JoinImages

RULE = JoinImages()
BEFORE = (ArithmeticToFunctional(), FactorConv3d(), FactorPool3d())


def video():
    return images(shape=(2, 8, 6, 9, 7))


def called(lines) -> list[str]:
    return [line.split("# ")[1] for line in lines if "# " in line]


def within() -> nn.Conv3d:
    return nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1))


def along() -> nn.Conv3d:
    return nn.Conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0))


def joined(original: nn.Module):
    return check(RULE, original.eval(), *video(), before=BEFORE)


@pytest.mark.parametrize(
    "original",
    [
        pytest.param(nn.Sequential(within()), id="one layer"),
        pytest.param(nn.Sequential(within(), along()), id="frames and columns"),
        pytest.param(nn.Sequential(nn.ReLU(), nn.AvgPool3d(2)), id="no images"),
        pytest.param(nn.Sequential(within(), nn.AvgPool3d(2), within()), id="a pool over the video"),
    ],
)
def test_left_as_it_is(original):
    assert joined(original).result.edits == ()


@pytest.mark.parametrize("act", [nn.ReLU, nn.Hardswish, nn.Sigmoid, nn.GELU, nn.LeakyReLU])
def test_an_activation_between_two_layers(act):
    checked = joined(nn.Sequential(within(), act(), within()))
    words = [word.split("(")[0] for word in called(checked.lines)]
    assert words == ["ToFrames", "Conv2d", act.__name__, "Conv2d", "FromFrames"]
    assert len([line for line in checked.lines if ".size(" in line]) == 1


def test_pools_between_layers_of_the_same_kind():
    checked = joined(nn.Sequential(within(), nn.MaxPool3d((1, 2, 2)), within(), nn.MaxPool3d((2, 1, 1)), along()))
    assert called(checked.lines) == [
        "ToFrames()", "Conv2d", "MaxPool2d", "Conv2d", "FromFrames()",
        "ToColumns()", "MaxPool2d", "Conv2d", "FromColumns()",
    ]  # fmt: skip


def test_channels_are_joined_on_columns():
    def forward(self, x):
        x = self.stem(x)
        return self.head(torch.cat([self.a(x), self.b(x), x], 1))

    original = model(forward, stem=within(), a=along(), b=nn.Conv3d(8, 4, 1), head=nn.Conv3d(20, 8, 1))
    checked = joined(original)
    assert called(checked.lines) == [
        "ToFrames()", "Conv2d", "FromFrames()", "ToColumns()", "Conv2d", "Conv2d", "FromFrames()", "ToColumns()",
        "Cat(dim=1)", "Conv2d", "FromColumns()",
    ] or called(checked.lines).count("FromColumns()") == 1  # fmt: skip
    assert checked.whole.islands == ()


def test_frames_are_joined_as_the_video_they_are():
    original = model(lambda self, x: self.head(torch.cat([self.a(x), self.b(x)], 2)), a=within(), b=within(),
                     head=within())  # fmt: skip
    checked = joined(original)
    assert "Cat(dim=2)" in called(checked.lines)
    assert called(checked.lines).count("FromFrames()") == 3


def test_a_gate_of_another_shape_is_multiplied_as_video():
    def forward(self, x):
        x = self.conv(x)
        return x * torch.sigmoid(self.gate(x.mean((2, 3, 4), True)))

    checked = joined(model(forward, conv=within(), gate=nn.Conv3d(8, 8, 1)))
    assert called(checked.lines)[-1] == "Mul(" + called(checked.lines)[-1].removeprefix("Mul(")
    assert checked.whole.islands == ()


def test_values_read_twice_keep_the_video_too():
    original = model(lambda self, x: (self.b(y := self.a(x)), y), a=within(), b=within())
    assert called(joined(original).lines) == ["ToFrames()", "Conv2d", "FromFrames()", "Conv2d", "FromFrames()"]
