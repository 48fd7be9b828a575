"""3-D convolutions that are two-dimensional become Conv2d on frames or columns, and old checkpoints load."""

import copy

import pytest
import torch
from passcheck import assert_same_results, check, conv, images, model
from torch import nn

from rewrites import rewrite
from rewrites.fusion import fusable_chains
from rewrites.passes import FactorConv3d

RULE = FactorConv3d()
VIDEO = (2, 8, 6, 9, 7)


def video(seed: int = 1, shape=VIDEO):
    return images(seed, shape)


def called(lines) -> list[str]:
    """What each line calls, without what it is called on."""
    return [line.split("# ")[1] for line in lines if "# " in line]


class OwnConv(nn.Conv3d):
    """A convolution of the user's, whose forward may be anything."""

    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(nn.ConvTranspose3d(8, 8, (1, 3, 3)), id="transposed"),
        pytest.param(nn.AvgPool3d(2), id="a pool"),
        pytest.param(OwnConv(8, 8, 1), id="a class of the user's"),
    ],
)
def test_left_as_it_is(part):
    checked = check(RULE, model(lambda self, x: self.part(x), part=part), *video())
    assert checked.result.edits == ()
    assert checked.skips == {}


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        pytest.param(
            nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1), padding_mode="circular"),
            "quantized convolutions pad with zeros only, not 'circular'",
            id="circular padding",
        ),
        pytest.param(
            nn.Conv3d(8, 8, (1, 3, 3)).to(memory_format=torch.channels_last_3d),
            "its weights do not lie in memory in the order of their dimensions",
            id="weights in another order",
        ),
    ],
)
def test_refuses(layer, reason):
    checked = check(RULE, model(lambda self, x: self.conv(x), conv=layer), *video())
    assert checked.skips == {"conv": reason}
    assert [island.reason for island in checked.whole.islands] == [reason]


def test_refuses_weights_read_by_name():
    original = model(lambda self, x: self.conv(x) * self.conv.weight.mean(), conv=nn.Conv3d(8, 8, (1, 3, 3)))
    assert check(RULE, original, *video()).skips == {"conv": "the weights of conv are also read by name"}


def test_refuses_a_layer_that_is_also_called_where_nobody_sees():
    layer = nn.Conv3d(8, 8, 1)

    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layer

        def forward(self, x):
            return self.inner(x) if x.sum() > 1e9 else self.inner(-x)

    checked = check(RULE, model(lambda self, x: self.conv(self.opaque(x)), conv=layer, opaque=Opaque()), *video())
    assert checked.skips == {"conv": "it is also called inside opaque, on videos"}


def test_within_frames():
    layer = nn.Conv3d(8, 6, (1, 3, 5), stride=(1, 2, 1), padding=(0, 1, 2), dilation=(1, 1, 2), groups=2)
    checked = check(RULE, model(lambda self, x: self.conv(x), conv=layer), *video())
    assert checked.lines == (
        "x: input",
        "size = x.size(0)",
        "to_frames = self.to_frames(x)  # ToFrames()",
        "conv = self.conv(to_frames)  # Conv2d",
        "from_frames = self.from_frames(conv, size)  # FromFrames()",
        "return from_frames",
    )
    made = checked.graph_module.get_submodule("conv")
    assert made.weight.shape == (6, 4, 3, 5)
    assert (made.stride, made.padding, made.dilation, made.groups) == ((2, 1), (1, 2), (1, 2), 2)
    assert checked.whole.islands == ()
    assert checked.whole.tolerance == 1e-5


def test_along_time():
    layer = nn.Conv3d(8, 6, (3, 1, 1), stride=(2, 1, 1), padding=(2, 0, 0), dilation=(2, 1, 1), bias=False)
    checked = check(RULE, model(lambda self, x: self.conv(x), conv=layer), *video())
    assert called(checked.lines) == ["ToColumns()", "Conv2d", "FromColumns()"]
    made = checked.graph_module.get_submodule("conv")
    assert made.weight.shape == (6, 8, 3, 1)
    assert (made.stride, made.padding, made.dilation) == ((2, 1), (2, 0), (2, 1))
    assert checked.whole.islands == ()


@pytest.mark.parametrize("frames", [6, 7, 4], ids="{} frames".format)
@pytest.mark.parametrize(
    ("kernel", "settings"),
    [
        pytest.param((2, 3, 3), {"stride": (2, 3, 3)}, id="patches"),
        pytest.param((2, 3, 3), {"stride": (2, 1, 2), "padding": (0, 1, 1), "groups": 4}, id="overlapping in space"),
        pytest.param((2, 3, 2), {"stride": (3, 1, 1)}, id="frames left out"),
        pytest.param((1, 1, 1), {"stride": 2}, id="every second value"),
        pytest.param((1, 3, 3), {"stride": (3, 1, 1), "dilation": (2, 1, 1)}, id="every third frame"),
    ],
)
def test_windows_that_do_not_overlap_in_time(frames, kernel, settings):
    layer = nn.Conv3d(8, 8, kernel, **settings)
    checked = check(RULE, model(lambda self, x: self.conv(x), conv=layer), *video(shape=(2, 8, frames, 9, 7)))
    taps, step = kernel[0], layer.stride[0]
    assert called(checked.lines) == [f"ToFrames(taps={taps}, step={step})", "Conv2d", "FromFrames()"]
    assert checked.whole.islands == ()


@pytest.mark.parametrize(
    ("first", "there"), [((1, 3, 3), "ToFrames()"), ((3, 1, 1), "ToColumns()")], ids=["frames", "columns"]
)
def test_a_pointwise_layer_takes_the_images_that_are_there(first, there):
    original = nn.Sequential(nn.Conv3d(8, 8, first), nn.Conv3d(8, 4, 1))
    checked = check(RULE, original, *video())
    assert called(checked.lines)[:2] == [there, "Conv2d"]
    assert called(checked.lines).count("Conv2d") == 2
    assert len([line for line in checked.lines if "To" in line]) == 1


def test_the_batch_norm_behind_it_is_fused_with_it():
    def unit(kernel):
        return [nn.Conv3d(8, 8, kernel), nn.BatchNorm3d(8), nn.ReLU6()]

    checked = check(RULE, nn.Sequential(*unit((1, 3, 3)), *unit((3, 1, 1))), *video())
    assert "BatchNorm3d" not in called(checked.lines)
    assert [len(chain) for chain in fusable_chains(checked.whole.graph_module)] == [3, 3]
    assert checked.whole.islands == ()


def test_a_batch_norm_alone():
    checked = check(RULE, model(lambda self, x: self.bn(x), bn=nn.BatchNorm3d(8)), *video())
    assert called(checked.lines) == ["ToFrames()", "BatchNorm2d", "FromFrames()"]


def test_a_batch_norm_without_statistics_stays():
    norm = nn.BatchNorm3d(8, track_running_stats=False)
    checked = check(RULE, model(lambda self, x: self.bn(x), bn=norm), *video())
    assert checked.skips == {"bn": "it keeps no running statistics, which its kernel needs"}


def test_a_batch_norm_stays_with_a_convolution_that_stays():
    layer = nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1), padding_mode="circular")
    checked = check(RULE, nn.Sequential(layer, nn.BatchNorm3d(8)), *video())
    assert checked.skips["_1"] == "it is fused with _0, which stays three-dimensional"


def test_a_layer_called_twice():
    original = model(lambda self, x: self.conv(self.act(self.conv(x))), act=nn.Tanh(),
                     conv=nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1)))  # fmt: skip
    checked = check(RULE, original, *video())
    assert called(checked.lines).count("Conv2d") == 2
    assert len([part for part in checked.graph_module.modules() if isinstance(part, nn.Conv2d)]) == 1


def test_one_layer_under_two_names():
    layer = nn.Conv3d(8, 8, (3, 1, 1))
    checked = check(RULE, model(lambda self, x: self.a(x) + self.b(x), a=layer, b=layer), *video())
    assert called(checked.lines).count("Conv2d") == 2
    assert len([part for part in checked.graph_module.modules() if isinstance(part, nn.Conv2d)]) == 1


def test_an_input_given_by_keyword():
    checked = check(RULE, model(lambda self, x: self.conv(input=x), conv=nn.Conv3d(8, 8, 1)), *video())
    assert "conv = self.conv(input=to_frames)  # Conv2d" in checked.lines


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    patches = nn.Conv3d(8, 8, (2, 3, 3), stride=(2, 3, 3))
    return nn.Sequential(patches, nn.BatchNorm3d(8), nn.Conv3d(8, 8, (3, 1, 1), bias=False), nn.Conv3d(8, 4, 1)).eval()


def test_checkpoints_of_the_original_load():
    original, other = network(1), network(2)
    rewritten = rewrite(original)
    assert set(rewritten.key_map) == set(original.state_dict()) and None not in rewritten.key_map.values()
    assert {key: tuple(shape) for key, shape in rewritten.shapes.items()} == {
        "0.weight": (8, 8, 2, 3, 3), "2.weight": (8, 8, 3, 1, 1), "3.weight": (4, 8, 1, 1, 1),
    }  # fmt: skip
    rewritten.load_state_dict(other.state_dict())
    assert_same_results(other, rewritten.graph_module, [video()], rewritten.tolerance)
    # What the rewritten model saves is under its own names and in its own shapes, and loads too.
    again = rewrite(original)
    again.graph_module.load_state_dict(rewritten.graph_module.state_dict())
    assert_same_results(other, again.graph_module, [video()], rewritten.tolerance)


def test_a_checkpoint_of_another_shape_is_refused():
    state = network(1).state_dict()
    state["2.weight"] = state["2.weight"].reshape(8, 8, 1, 3)
    with pytest.raises(RuntimeError, match=r"a param with shape torch.Size\(\[8, 8, 1, 3\]\)"):
        rewrite(network(1)).load_state_dict(state)


def test_the_original_is_not_touched():
    original = network(1)
    before = copy.deepcopy(original)
    rewritten = rewrite(original)
    for parameter in rewritten.graph_module.parameters():
        parameter.data.zero_()
    assert all(torch.equal(a, b) for a, b in zip(original.parameters(), before.parameters(), strict=True))
    assert original[0].weight.shape == (8, 8, 2, 3, 3)


def test_images_go_through_as_ever():
    assert check(RULE, model(lambda self, x: self.conv(x), conv=conv())).result.edits == ()
