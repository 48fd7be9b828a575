"""What people write in a forward, where its int8 value matters: from the model to a verified artifact."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import OrderedDict, namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import ops

import fxconv
from fxconv.errors import UserError

Pair = namedtuple("Pair", ["low", "high"])


class Net(nn.Module):
    """Two convolutions, and between and behind them something of the test's own."""

    def __init__(self, between=lambda y: y, behind=lambda y: y, part: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.between, self.behind, self.part = between, behind, part or nn.Identity()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 8).view(8, 1, 1))

    def forward(self, x):
        y = self.part(self.between(F.relu(self.first(x))))
        return self.behind(self.second(y))


class Scaled(Net):
    """Layer scale and a residual."""

    def forward(self, x):
        y = F.relu(self.first(x))
        return y + self.second(y) * self.scale


def converted(model: nn.Module) -> fxconv.Conversion:
    torch.manual_seed(0)
    model = copy.deepcopy(model).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1 and parameter is not getattr(model, "scale", None):
            nn.init.kaiming_normal_(parameter)
    return fxconv.convert(model, [torch.randn(4, 3, 16, 16) for _ in range(2)], recipe=("none",))


MODELS = {
    "layer scale": Scaled(),
    "chunk and cat": Net(lambda y: torch.cat([part.relu() for part in reversed(y.chunk(2, 1))], 1)),
    "roll": Net(lambda y: y.roll((1, 2), (2, 3))),
    "stack and unbind": Net(lambda y: torch.stack(y.unbind(2), 2)),
    "pad": Net(lambda y: F.pad(y, (0, 1, 0, 1))[:, :, 1:, 1:]),
    "interpolate": Net(lambda y: F.interpolate(y, size=(y.shape[2] * 2, y.shape[3] * 2))),
    "permute and reshape": Net(lambda y: y.permute(0, 2, 3, 1).reshape(y.shape[0], -1, 8).transpose(1, 2)
                               .reshape(y.shape)),
    "math.sqrt": Net(behind=lambda y: y / math.sqrt(y.shape[-1])),
    "arange": Net(lambda y: y + torch.arange(y.shape[3]) / y.shape[3]),
    "items": Net(lambda y: torch.cat([y[:, :4], y[:, 4:] * 2], 1)),
    "SqueezeExcitation": Net(part=ops.SqueezeExcitation(8, 4)),
    "Conv2dNormActivation": Net(part=ops.Conv2dNormActivation(8, 8, activation_layer=nn.Hardswish)),
    "FrozenBatchNorm2d": Net(part=ops.FrozenBatchNorm2d(8)),
    "StochasticDepth": Net(part=ops.StochasticDepth(0.5, "row")),
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_verified_in_int8(model):
    conversion = converted(model)
    assert conversion.verdict == "converted and verified"
    assert conversion.rewritten.leaves == ()


def test_what_does_not_trace_is_verified_part_by_part():
    def between(y: torch.Tensor) -> torch.Tensor:
        return y if bool(y.sum() > -1e9) else -y

    conversion = converted(Net(between, behind=between))
    assert conversion.verdict == "converted and verified"
    assert list(conversion.rewritten.graphs) == ["first", "second"]
    assert "tests/fxconv/conversion/test_idioms_int8.py:" in conversion.rewritten.leaves[0].reason


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda y: (y, y * 2), id="a tuple"),
        pytest.param(lambda y: {"out": y, "aux": y * 2}, id="a dict"),
        pytest.param(lambda y: OrderedDict(out=y, aux=y * 2), id="an OrderedDict"),
        pytest.param(lambda y: Pair(y, y * 2), id="a named tuple"),
        pytest.param(lambda y: [{"a": y}, {"a": y * 2}], id="a list of dicts"),
        pytest.param(lambda y: (y, {"a": [y * 2]}), id="mixed"),
    ],
)
def test_outputs_of_any_nesting(form):
    assert converted(Net(behind=form)).verdict == "converted and verified"


def test_a_dataclass_is_refused_in_one_line():
    @dataclasses.dataclass
    class Found:
        out: torch.Tensor

    with pytest.raises(UserError, match="the model returns Found beside or instead of tensors; return tensors only"):
        converted(Net(behind=Found))
