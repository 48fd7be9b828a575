"""What people write in a forward, each in a small module: rewritten exactly, with the graphs and lines expected."""

import copy
import functools
import math
from collections import OrderedDict, namedtuple

import pytest
import torch
import torch.nn.functional as F
from passcheck import assert_same_results, conv, images, model
from torch import nn
from torchvision import ops

from rewrites import rewrite
from rewrites.diff import graph_lines

Pair = namedtuple("Pair", ["low", "high"])


def rewritten_from(original: nn.Module, *inputs: object):
    """The rewritten model, after it was seen that it computes the same on two inputs."""
    original.eval()
    batch = inputs or images()
    result = rewrite(copy.deepcopy(original), example=batch)
    others = tuple(value * 0.5 for value in batch)
    assert_same_results(original, result.module, [batch, others], result.tolerance)
    return result


def whole(original: nn.Module, *inputs: object):
    """The same for a model that is one graph, of which nothing stayed whole."""
    result = rewritten_from(original, *inputs)
    assert result.leaves == () and list(result.graphs) == [""]
    return result


# -- what does not trace stays, and its children are rewritten -------------------------------------------


def by_value(self, x):
    y = self.body(x)
    return self.head(y) if y.sum() > -1e9 else y


def by_number(self, x):
    y = self.body(x)
    return self.head(y) * int(y.numel() + (y.sum() > 1e9))


def by_assert(self, x):
    y = self.body(x)
    assert y.isfinite().all(), "not finite"
    return self.head(y)


def by_loop(self, x):
    y = self.body(x)
    while y.abs().max() > 1e9:
        y = y / 2
    return self.head(y)


@pytest.mark.parametrize(
    ("forward", "line"),
    [(by_value, 2), (by_number, 2), (by_assert, 2), (by_loop, 2)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_does_not_trace_keeps_its_place_and_names_its_line(forward, line):
    original = model(forward, body=nn.Sequential(conv(), nn.ReLU()), head=nn.Sequential(conv(), nn.ReLU()))
    result = rewritten_from(original)
    assert list(result.graphs) == ["body", "head"]
    assert result.module.forward.__func__ is forward
    (leaf,) = result.leaves
    number = forward.__code__.co_firstlineno + line
    assert leaf.reason.startswith(f"does not trace: tests/rewrites/test_idioms.py:{number} (")


# -- what traces -------------------------------------------------------------------------------------------


class Kinds(nn.Module):
    """Methods that TorchScript is told to leave alone, and branches about scripting and training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.auxiliary = conv(), conv()

    @torch.jit.unused
    def twice(self, x):
        return x * 2

    @torch.jit.ignore
    def thrice(self, x):
        return x * 3

    def forward(self, x):
        y = self.conv(x)
        if torch.jit.is_scripting() or torch.jit.is_tracing():
            return y
        if self.training:
            return self.thrice(y), self.auxiliary(y)
        return self.thrice(self.twice(y))


def keywords(self, x, **options):
    return self.conv(x) * options.get("scale", 3)


def optional(self, x, mask=None, factor: float = 2.0):
    y = self.conv(x) * factor
    return y if mask is None else y * mask


def checks(self, x):
    torch._assert(x.dim() == 4, "an image")
    if not isinstance(x, torch.Tensor) or x.shape[1] != 8:
        raise TypeError(f"expected 8 channels, not {x.shape[1]} of {x.shape}")
    return self.conv(x)


def state(self, x):
    setattr(self, "size", x.shape[-1])  # noqa: B010
    return self.conv(x) * getattr(self, "factor", 2)


def items(self, x):
    y = self.conv(x).clone()
    y[:, :2] = 0
    y[:, 3] *= 2
    return y


def split_up(self, x):
    first, second = x.chunk(2, 1)
    third, fourth = torch.split(x, [4, 4], dim=1)
    rows = torch.stack(x.unbind(2), 2)
    return self.conv(torch.cat([first + third, second + fourth], 1) + rows.roll((1, 2), (2, 3)))


def windows(self, x):
    b, c, h, w = x.shape
    y = x.view(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
    y = self.linear(y).view(b, h // 4, w // 4, 4, 4, c)
    return y.permute(0, 5, 1, 3, 2, 4).contiguous().view(b, c, h, w)


def padded(self, x):
    h, w = x.shape[-2:]
    side = max(h, w) + 3
    y = F.pad(x, (0, side - w, 0, side - h))
    return self.conv(y)[:, :, :h, :w]


def paired(self, x):
    levels = [x, x * 2, x * 3]
    return sum(layer(level) * n for n, (layer, level) in enumerate(zip(self.layers, levels, strict=True), 1))


def named(self, x):
    found = {name: layer(x) for name, layer in self.by_name.items()}
    return found["a"] + found["b"]


ACT = functools.partial(nn.ReLU, inplace=True)
PARAMETER = nn.Parameter(torch.linspace(-1, 1, 8).view(8, 1, 1))
MODELS = {
    "jit and training": Kinds(),
    "kwargs": model(keywords, conv=conv()),
    "optional": model(optional, conv=conv()),
    "checks": model(checks, conv=conv()),
    "state": model(state, conv=conv()),
    "items": model(items, conv=conv()),
    "chunk, split, stack, unbind, roll": model(split_up, conv=conv()),
    "computed reshapes": model(windows, linear=nn.Linear(8, 8)),
    "pad and max": model(padded, conv=conv()),
    "zip and enumerate": model(paired, layers=nn.ModuleList(conv() for _ in range(3))),
    "ModuleDict": model(named, by_name=nn.ModuleDict({"a": conv(), "b": conv()})),
    "ModuleList": model(lambda self, x: functools.reduce(lambda y, f: f(y), self.layers, x),
                        layers=nn.ModuleList([conv(), ACT(), conv(), ACT()])),
    "partial activation": nn.Sequential(conv(), ACT(), conv(), functools.partial(nn.LeakyReLU, 0.2)()),
    "Sequential slice": model(lambda self, x: self.all[2:](self.all[:2](x)),
                              all=nn.Sequential(conv(), nn.ReLU(), conv())),
    "a module made in the forward": model(lambda self, x: nn.Softmax(1)(nn.ReLU()(self.conv(x))), conv=conv()),
    "interpolate": model(lambda self, x: F.interpolate(
        self.conv(x), size=(x.shape[2] * 2, x.shape[3] // 2), mode="bilinear", align_corners=False), conv=conv()),
    "len and shapes": model(lambda self, x: self.conv(x) * len(x.shape) if x.shape[2:] == (8, 8) else x, conv=conv()),
    "size": model(lambda self, x: self.conv(x).view(x.size(0), -1), conv=conv()),
    "math.sqrt": model(lambda self, x: self.conv(x) / math.sqrt(x.shape[-1]), conv=conv()),
    "arange": model(lambda self, x: self.conv(x) + torch.arange(x.shape[3]), conv=conv()),
    "new_zeros": model(lambda self, x: torch.cat([self.conv(x), x.new_zeros(2, 8, 8, 8)], 1), conv=conv()),
    "layer scale": model(lambda self, x: x + self.conv(x) * self.scale, conv=conv(), scale=PARAMETER),
    "position embedding": model(lambda self, x: self.conv(x + self.pos), conv=conv(), pos=torch.ones(1, 8, 8, 8)),
    "relative bias": model(lambda self, x: self.conv(x) + self.table[self.index].view(8, 8),
                           conv=conv(), table=nn.Parameter(torch.randn(15)), index=torch.arange(64) % 15),
}  # fmt: skip


def test_a_slice_of_a_sequential_calls_the_layers_themselves():
    lines = graph_lines(rewrite(MODELS["Sequential slice"], passes=(), example=images()).module)
    assert [line.partition("  #")[0] for line in lines[1:-1]] == [
        "all_0 = self.all.0(x)", "all_1 = self.all.1(all_0)", "all_2 = self.all.2(all_1)",
    ]  # fmt: skip


@pytest.mark.parametrize("original", MODELS.values(), ids=MODELS)
def test_one_graph(original):
    whole(original)


def test_an_auxiliary_head_that_only_training_runs_goes():
    result = whole(Kinds())
    assert result.key_map["auxiliary.weight"] is None
    assert not hasattr(result.module, "auxiliary")


def test_a_default_takes_the_branch_of_the_default():
    lines = graph_lines(whole(model(optional, conv=conv())).module)
    assert not [line for line in lines if line.startswith(("mask", "factor"))]


def test_tied_weights_stay_tied():
    original = nn.Sequential(conv(bias=False), nn.ReLU(), conv(bias=False))
    original[2].weight = original[0].weight
    assert len(list(whole(original).module.parameters())) == 1


# -- torchvision.ops ------------------------------------------------------------------------------------------


def boxes() -> torch.Tensor:
    return torch.tensor([[0.0, 0.0, 0.0, 6.0, 6.0], [1.0, 1.0, 1.0, 5.0, 7.0]])


OPERATORS = {
    "Conv2dNormActivation": ops.Conv2dNormActivation(8, 8, activation_layer=nn.Hardswish),
    "SqueezeExcitation": ops.SqueezeExcitation(8, 4, scale_activation=nn.Hardsigmoid),
    "MLP": model(lambda self, x: self.mlp(x.flatten(1)), mlp=ops.MLP(512, [16, 4])),
    "StochasticDepth": nn.Sequential(conv(), ops.StochasticDepth(0.5, "row")),
    "stochastic_depth": model(lambda self, x: ops.stochastic_depth(self.conv(x), 0.5, "row", self.training),
                              conv=conv()),
    "Permute": nn.Sequential(conv(), ops.Permute([0, 2, 3, 1])),
    "FrozenBatchNorm2d": nn.Sequential(conv(), ops.FrozenBatchNorm2d(8)),
    "DropBlock2d": nn.Sequential(conv(), ops.DropBlock2d(0.5, 3)),
    "DeformConv2d": model(lambda self, x: self.deform(x, self.offset(x)),
                          deform=ops.DeformConv2d(8, 8, 3, padding=1), offset=conv(8, 18, 3, padding=1)),
    "roi_align": model(lambda self, x: ops.roi_align(self.conv(x), self.boxes, 2), conv=conv(), boxes=boxes()),
    "FeaturePyramidNetwork": model(
        lambda self, x: self.fpn(OrderedDict(a=x, b=self.down(x))), fpn=ops.FeaturePyramidNetwork([8, 8], 8),
        down=conv(8, 8, 3, stride=2, padding=1)),
}  # fmt: skip


@pytest.mark.parametrize("original", OPERATORS.values(), ids=OPERATORS)
def test_operators_of_torchvision(original):
    whole(original)


def test_boxes_pooled_from_several_levels_stay_as_they_are_in_float():
    def forward(self, x):
        low = self.conv(x)
        levels = OrderedDict(low=low, high=self.down(low))
        return self.pool(levels, [self.boxes], [(32, 32)])

    original = model(
        forward, conv=conv(), down=conv(8, 8, 3, stride=2, padding=1), boxes=boxes()[:, 1:],
        pool=ops.MultiScaleRoIAlign(["low", "high"], 2, 2),
    )  # fmt: skip
    result = rewritten_from(original, *images(shape=(1, 8, 8, 8)))
    assert [type(layer) for layer in result.module.modules()].count(nn.Conv2d) == 2
    assert result.source_calls["Conv2d"] == 2


# -- outputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "kinds"),
    [
        pytest.param(lambda y: y, torch.Tensor, id="a tensor"),
        pytest.param(lambda y: (y, y * 2), tuple, id="a tuple"),
        pytest.param(lambda y: [y, (y * 2,)], list, id="a list"),
        pytest.param(lambda y: {"out": y, "aux": [y * 2]}, dict, id="a dict"),
        # TorchScript has no OrderedDict to hand out; a dict keeps keys, order and equality
        pytest.param(lambda y: OrderedDict(out=y, aux=y * 2), dict, id="an OrderedDict"),
        pytest.param(lambda y: Pair(y, y * 2), Pair, id="a named tuple"),
        pytest.param(lambda y: [{"a": y}, {"a": y * 2}], list, id="a list of dicts"),
    ],
)
def test_outputs_keep_their_form(form, kinds):
    result = whole(model(lambda self, x: form(self.conv(x)), conv=conv()))
    assert type(result.module(*images())) is kinds
