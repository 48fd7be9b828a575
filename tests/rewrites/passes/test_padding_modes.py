"""Padding modes become pads in front; pads without a kernel become slices that are joined."""

import pytest
import torch.nn.functional as F
from passcheck import assert_same_results, check, conv, images, model, text
from torch import nn

from rewrites.passes import PaddingModes

RULE = PaddingModes()
MODES = ["reflect", "replicate", "circular"]


def test_reflection():
    checked = check(RULE, nn.Sequential(conv(), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), nn.ReLU()))
    assert checked.changes == text("""
        -_1 = self.1(_0)  # Conv2d
        +pad = self.pad(_0)  # ReflectionPad2d((1, 1, 1, 1))
        +_1 = self.1(pad)  # Conv2d
    """)
    layer = checked.graph_module.get_submodule("1")
    assert (layer.padding, layer.padding_mode) == ((0, 0), "zeros") and checked.whole.islands == ()


def test_round_the_circle():
    checked = check(RULE, nn.Sequential(conv(), nn.Conv2d(8, 8, 3, padding=(0, 1), padding_mode="circular")))
    assert checked.changes == text("""
        -_1 = self.1(_0)  # Conv2d
        +pad_side = _0[Ellipsis, -1:]
        +pad_side_1 = _0[Ellipsis, :1]
        +cat = self.cat([pad_side, _0, pad_side_1])  # Cat(dim=-1)
        +_1 = self.1(cat)  # Conv2d
    """)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "settings", [{"padding": 1}, {"padding": "same"}, {"padding": "valid"}, {"padding": 2}], ids=str
)
def test_layers_of_images(mode, settings):
    original = nn.Sequential(conv(), nn.Conv2d(8, 8, (4, 3), bias=False, padding_mode=mode, **settings))
    checked = check(RULE, original)
    assert checked.whole.islands == ()
    assert_same_results(original, checked.whole.graph_module, [images(4, (3, 8, 12, 9))], checked.whole.tolerance)


@pytest.mark.parametrize("mode", MODES)
def test_layers_of_rows(mode):
    original = nn.Sequential(nn.Conv1d(8, 8, 3), nn.Conv1d(8, 8, 4, padding="same", padding_mode=mode))
    checked = check(RULE, original, *images(shape=(2, 8, 12)))
    assert checked.whole.islands == ()


PADS = {
    "ReplicationPad2d": lambda: nn.ReplicationPad2d((1, 2, 0, 3)),
    "CircularPad2d": lambda: nn.CircularPad2d((0, 1, 2, 0)),
}


@pytest.mark.parametrize("pad", PADS.values(), ids=PADS)
def test_pads_as_modules(pad):
    checked = check(RULE, nn.Sequential(conv(), pad(), conv()))
    assert checked.whole.islands == () and not any("Pad2d" in line for line in checked.lines)


@pytest.mark.parametrize(
    "pad",
    [
        pytest.param(lambda x: F.pad(x, (1, 1, 2, 0), "replicate"), id="replicate"),
        pytest.param(lambda x: F.pad(input=x, pad=[2, 1, 0, 1], mode="circular"), id="circular, by name"),
    ],
)
def test_pads_as_functions(pad):
    original = model(lambda self, x: self.out(pad(self.conv(x))), conv=conv(), out=conv())
    checked = check(RULE, original)
    assert checked.whole.islands == () and not any("F.pad" in line for line in checked.lines)


def test_a_layer_that_is_called_twice_is_padded_twice():
    layer = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
    checked = check(RULE, nn.Sequential(layer, nn.ReLU(), layer))
    assert sum("ReflectionPad2d" in line for line in checked.lines) == 2


def test_a_pad_of_the_input_is_in_int8():
    checked = check(RULE, nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")))
    assert checked.whole.islands == ()


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        pytest.param(
            nn.Sequential(conv(), nn.ReplicationPad2d((-1, 1, 0, 0))),
            "it cuts off where it is padded by a negative number, which no pad of slices does",
            id="negative",
        ),
        pytest.param(
            model(lambda self, x: F.pad(x, (x.size(2) - 7, 1, 0, 0), "replicate")),
            "how much it pads is computed when the model runs",
            id="computed",
        ),
    ],
)
def test_refuses(original, reason):
    checked = check(RULE, original)
    assert list(checked.skips.values()) == [reason] and checked.result.edits == ()


def test_a_layer_behind_a_change_in_place():
    def forward(self, x):
        y = self.conv(x)
        z = y + 1
        y.add_(2)
        return self.padded(z) * y

    original = model(forward, conv=conv(), padded=nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"))
    checked = check(RULE, original)
    assert list(checked.skips.values()) == [
        "something is changed in place between add and it, so no pad can stand there"
    ]


@pytest.mark.parametrize("layer", [conv(8, 8, 3, padding=1), nn.Conv3d(1, 1, 3, padding=1, padding_mode="circular")])
def test_others_are_left_alone(layer):
    inputs = images() if isinstance(layer, nn.Conv2d) else images(shape=(1, 1, 4, 4, 4))
    assert check(RULE, nn.Sequential(layer), *inputs).result.edits == ()
