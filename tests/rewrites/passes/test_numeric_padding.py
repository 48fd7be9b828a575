"""Padding in words becomes padding in numbers, with the same bits."""

import pytest
import torch
from passcheck import check, conv, images, model, text
from torch import nn

from rewrites import rewrite
from rewrites.diff import graph_lines
from rewrites.fusion import fusable_chains
from rewrites.kernels import Verdict, verdict
from rewrites.passes import NumericPadding, UnshareModules

RULE = NumericPadding()


class OwnConv(nn.Conv2d):
    """A convolution of the user's, whose forward may be anything."""


def sequence(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(*parts).eval()


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(conv(8, 8, 3, padding=1), id="numbers already"),
        pytest.param(conv(8, 8, 3, padding="same", padding_mode="reflect"), id="reflect"),
        pytest.param(conv(8, 8, 4, padding="same", padding_mode="circular"), id="circular, even kernel"),
        pytest.param(OwnConv(8, 8, 3, padding="same"), id="a class of the user's"),
        pytest.param(nn.ConvTranspose2d(8, 8, 3, padding=1), id="transposed convolutions take numbers only"),
    ],
)
def test_left_as_it_is(part):
    checked = check(RULE, model(lambda self, x: self.part(x), part=part))
    assert checked.result.edits == ()
    assert checked.skips == {}


def test_same_with_an_odd_kernel_is_a_number():
    checked = check(RULE, model(lambda self, x: self.conv(x), conv=conv(8, 8, 3, padding="same")))
    assert checked.changes == text("""
        -conv = self.conv(x)  # Conv2d(padding='same')
        +conv = self.conv(x)  # Conv2d
    """)
    (edit,) = checked.result.edits
    assert (edit.before, edit.after) == ("conv.padding = 'same'", "conv.padding = (1, 1)")
    assert edit.reason == "int8 kernels take padding in numbers, not 'same'"
    assert checked.graph_module.get_submodule("conv").padding == (1, 1)
    assert checked.whole.islands == ()


def test_valid_is_zero():
    checked = check(RULE, model(lambda self, x: self.conv(x), conv=conv(8, 8, (3, 2), padding="valid", stride=2)))
    assert checked.graph_module.get_submodule("conv").padding == (0, 0)
    assert checked.whole.islands == ()


def test_same_with_an_even_kernel_gets_a_pad_of_the_odd_zero():
    checked = check(RULE, model(lambda self, x: self.conv(self.bn(x)), conv=conv(8, 8, 4, padding="same"),
                                bn=nn.BatchNorm2d(8)))  # fmt: skip
    assert checked.changes == text("""
        -conv = self.conv(bn)  # Conv2d(padding='same')
        +pad = self.pad(bn)  # ZeroPad2d((0, 1, 0, 1))
        +conv = self.conv(pad)  # Conv2d
    """)
    assert checked.result.edits[0].reason == "'same' pads 1 more behind than in front, which a convolution cannot"
    assert checked.graph_module.get_submodule("conv").padding == (1, 1)
    assert checked.whole.islands == ()


@pytest.mark.parametrize(
    ("kernel", "dilation", "padding", "extra"),
    [
        ((3, 5), 1, (1, 2), None),
        ((4, 3), 1, (1, 1), (0, 0, 0, 1)),
        ((3, 2), 1, (1, 0), (0, 1, 0, 0)),
        ((4, 2), (2, 1), (3, 0), (0, 1, 0, 0)),  # an even kernel dilated by 2 takes an even number
        ((2, 6), 3, (1, 7), (0, 1, 0, 1)),
        (1, 1, (0, 0), None),
    ],
)
@pytest.mark.parametrize("groups", [1, 8])
def test_sides_are_those_torch_pads(kernel, dilation, padding, extra, groups):
    # `check` asks for the same bits; the images are oblong, so that the two sides cannot be mixed up.
    layer = conv(8, 8, kernel, dilation=dilation, groups=groups, padding="same")
    checked = check(RULE, model(lambda self, x: self.conv(x), conv=layer), *images(shape=(2, 8, 19, 23)))
    assert checked.graph_module.get_submodule("conv").padding == padding
    pads = [module.padding for module in checked.graph_module.modules() if isinstance(module, nn.ZeroPad2d)]
    assert pads == ([] if extra is None else [extra])


@pytest.mark.parametrize(
    ("kind", "pad", "shape"), [(nn.Conv1d, nn.ZeroPad1d, (2, 8, 13)), (nn.Conv3d, nn.ZeroPad3d, (1, 8, 5, 6, 7))]
)
@pytest.mark.parametrize("kernel", [3, 4])
def test_in_other_dimensions(kind, pad, shape, kernel):
    original = sequence(kind(8, 8, kernel, padding="same"), kind(8, 8, 2, padding="valid"))
    checked = check(RULE, original, *images(shape=shape))
    assert len([module for module in checked.graph_module.modules() if type(module) is pad]) == (kernel == 4)
    assert not [module for module in checked.graph_module.modules() if isinstance(getattr(module, "padding", 0), str)]


@pytest.mark.parametrize("kernel", [3, 4])
def test_a_layer_called_twice_pads_at_each_call(kernel):
    original = model(lambda self, x: self.conv(self.bn(self.conv(x))), conv=conv(8, 8, kernel, padding="same"),
                     bn=nn.BatchNorm2d(8))  # fmt: skip
    checked = check(RULE, original)
    assert len([line for line in checked.lines if "ZeroPad2d" in line]) == (2 if kernel == 4 else 0)
    assert len([edit for edit in checked.result.edits if edit.kind == "replace"]) == 1


def test_one_layer_under_two_names():
    layer = conv(8, 8, 4, padding="same")
    checked = check(RULE, model(lambda self, x: self.a(x) + self.b(x), a=layer, b=layer), before=(UnshareModules(),))
    assert len([line for line in checked.lines if "ZeroPad2d" in line]) == 2


def test_an_input_given_by_keyword():
    checked = check(RULE, model(lambda self, x: self.conv(input=x), conv=conv(8, 8, 4, padding="same")))
    assert "conv = self.conv(input=pad)  # Conv2d" in checked.lines


def test_the_layer_stays_fused_and_in_int8():
    original = sequence(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 4, padding="same"), nn.BatchNorm2d(8), nn.ReLU6())
    whole = check(RULE, original).whole
    assert whole.islands == ()
    assert [line.split("# ")[1] for line in graph_lines(whole.graph_module) if "# " in line] == [
        "QuantStub()", "Conv2d", "ZeroPad2d((0, 1, 0, 1))", "Conv2d", "BatchNorm2d", "CappedReLU(cap=6)",
        "DeQuantStub()",
    ]  # fmt: skip
    assert [len(chain) for chain in fusable_chains(whole.graph_module)] == [3]


def test_refuses_where_no_pad_can_stand():
    def forward(self, x):
        y = self.first(x)
        y.add_(1)
        return self.conv(y)

    original = model(forward, first=conv(), conv=conv(8, 8, 4, padding="same"))
    checked = check(RULE, original)
    assert checked.skips == {"conv": "something is changed in place between first and it, so no pad can stand there"}
    # Alone; behind out-of-place, as in the default order, it is rewritten.
    assert checked.whole.graph_module.get_submodule("conv").padding == (1, 1)


def test_refuses_a_layer_that_is_also_called_where_nobody_sees():
    layer = conv(8, 8, 4, padding="same")

    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layer

        def forward(self, x):
            return self.inner(x) if x.sum() > 1e9 else self.inner(-x)

    checked = check(RULE, model(lambda self, x: self.conv(self.opaque(x)), conv=layer, opaque=Opaque()))
    assert checked.skips == {"conv": "it is also called inside opaque, where no pad can be put in front of it"}
    assert verdict(nn.Conv2d, checked.whole.graph_module.get_submodule("conv")) == (
        Verdict.FLOAT, "quantized convolutions take padding in numbers, not 'same'",
    )  # fmt: skip


def test_the_original_is_not_touched():
    original = sequence(conv(8, 8, 4, padding="same"))
    rewrite(original)
    assert original[0].padding == "same"
    assert torch.equal(original(*images()), original(*images()))
