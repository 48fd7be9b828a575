"""How the parts of an emitted file are written: layout, names of parameters, tables of names."""

import pytest
import torch
from torch import nn

from rewrites.emit.checkpoint import original, prefixes
from rewrites.emit.layers import NotEmittable, made
from rewrites.emit.parameters import named
from rewrites.emit.text import Group, Infix, Slot, call, commented, flat, lines, literal


def written(slot: Slot) -> str:
    return "" if slot.is_default else slot.text()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("inf"), 'float("inf")'),
        (1e-05, "1e-05"),
        ("it's", '"it\'s"'),
        ('say "x"', "'say \"x\"'"),
        ((3,), "(3,)"),
        ([1, None, True], "[1, None, True]"),
        (torch.float32, "torch.float32"),
        (torch.device("cpu"), 'torch.device("cpu")'),
        ("got Proxy(getattr_4)", '"got another"'),
    ],
)
def test_literals(value, text):
    assert literal(value) == text


def test_a_value_without_a_literal_is_refused():
    with pytest.raises(ValueError, match="a Tensor has no place in a file"):
        literal(torch.zeros(1))


def test_what_fits_in_a_line_is_one():
    assert lines("x = ", call("f", "a", Infix("b", "**", "2"), key="c"), written, 4) == ["    x = f(a, b**2, key=c)"]


def test_what_does_not_fit_has_an_item_a_line():
    found = lines("x = ", call("function", "a" * 40, call("g", "b" * 30), key="c"), written, 4)
    assert found == [
        "    x = function(",
        f"        {'a' * 40},",
        f"        g({'b' * 30}),",
        "        key=c,",
        "    )",
    ]


def test_a_call_that_stands_alone_has_no_comma_behind_it():
    found = lines("x = ", call("f", Group("g(", ")", (("a", "1"),), ("why",))), written, 0)
    assert found == ["x = f(", "    g(", "        a=1,  # why", "    )", ")"]


def test_a_default_is_left_out():
    assert flat(call("f", a=Slot("", "a", 1, default=1), b=Slot("", "b", 2, default=1)), written) == "f(b=2)"


def test_a_long_comment_stands_above():
    assert commented(["    x = 1"], "short") == ["    x = 1  # short"]
    found = commented(["    x = 1"], "word " * 30)
    assert found[-1] == "    x = 1" and all(line.startswith("    # word") for line in found[:-1])


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(3, 8, 3, padding=1, bias=False), "nn.Conv2d(3, 8, 3, padding=1, bias=False)"),
        (nn.Conv2d(3, 8, (1, 3), padding="same"), 'nn.Conv2d(3, 8, (1, 3), padding="same")'),
        (nn.BatchNorm2d(8, eps=0.001), "nn.BatchNorm2d(8, eps=0.001)"),
        (nn.MaxPool2d(3, 2, 1), "nn.MaxPool2d(3, stride=2, padding=1)"),
        (nn.MaxPool2d(2), "nn.MaxPool2d(2)"),
        (nn.LayerNorm(16), "nn.LayerNorm(16)"),
        (nn.ConvTranspose2d(4, 6, 2, 2, output_padding=1), "nn.ConvTranspose2d(4, 6, 2, stride=2, output_padding=1)"),
        (nn.Upsample(scale_factor=2.0, mode="bilinear"), 'nn.Upsample(scale_factor=2.0, mode="bilinear")'),
        (nn.AdaptiveAvgPool2d((None, 4)), "nn.AdaptiveAvgPool2d((None, 4))"),
        (nn.PReLU(4), "nn.PReLU(num_parameters=4)"),
        (nn.GELU("tanh"), 'nn.GELU(approximate="tanh")'),
        (nn.Linear(4, 2, bias=False), "nn.Linear(4, 2, bias=False)"),
    ],
)
def test_a_layer_is_the_call_that_makes_it(layer, text):
    assert flat(made(layer, "layer"), written) == text


def test_a_layer_that_is_not_torchs_is_refused():
    class Own(nn.Conv2d):
        pass

    with pytest.raises(NotEmittable, match=r"head: Own is no layer of torch\.nn"):
        made(Own(3, 3, 1), "head")


def test_a_layer_somebody_changed_is_refused():
    layer = nn.Linear(4, 2)
    layer.weight = nn.Parameter(torch.zeros(3, 4))
    with pytest.raises(NotEmittable, match="fc: Linear does not say how it was made"):
        made(layer, "fc")


def slots(*numbers: int) -> list[Slot]:
    first, hidden, stride, last = numbers
    return [
        Slot("expand.conv", "in_channels", first),
        Slot("expand.conv", "out_channels", hidden),
        Slot("expand.bn", "num_features", hidden),
        Slot("depthwise.conv", "stride", stride, default=1),
        Slot("project.conv", "in_channels", hidden),
        Slot("project.conv", "out_channels", last),
    ]


def test_numbers_that_always_agree_share_a_parameter():
    found = named([slots(8, 16, 1, 8), slots(16, 24, 2, 32)])
    assert found == ["in_channels", "expand_channels", "expand_channels", "stride", "expand_channels", "out_channels"]


def test_numbers_that_are_the_same_in_all_blocks_are_no_parameters():
    assert named([slots(8, 16, 1, 8), slots(8, 24, 1, 8)])[0] == ""
    assert named([slots(8, 16, 1, 8)]) == [""] * 6


SOURCES = {
    "stem.weight": "stem.weight",
    "layer1_0.conv1.weight": "layer1.0.conv1.weight",
    "layer1_0.bn1.weight": "layer1.0.bn1.weight",
    "layer1_0.downsample.conv.weight": "layer1.0.downsample.0.weight",
    "layer1_0.downsample.conv.bias": "layer1.0.downsample.0.bias",
    "head.scale": "head.1.scale",
}


def test_the_table_of_names_is_short_and_right():
    table = prefixes(SOURCES)
    assert table == {
        "layer1_0": "layer1.0",
        "layer1_0.downsample.conv": "layer1.0.downsample.0",
        "head": "head.1",
    }
    assert {key: original(key, table) for key in SOURCES} == SOURCES
