"""Models of which the outermost forward does not trace: what stands in parts is right for every branch, to the file."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.jit.mobile
from torch import Tensor, nn

import fxconv
from fxconv.measures.similarity import Similarity


class Block(nn.Module):
    """A convolution; its flag says whether its input is added."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x, residual: bool = True):
        y = torch.relu(self.conv(x))
        return y + x if residual else y


class Branches(nn.Module):
    """The sign of one pixel decides how the block is called."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 8, 3, padding=1), Block()


class OneFlagInEach(Branches):
    def forward(self, x):
        y = self.stem(x)
        if x[0, 0, 0, 0] > 0:
            return self.block(y, True)
        return self.block(y, False)


class LeftOutInOne(Branches):
    def forward(self, x):
        y = self.stem(x)
        if x[0, 0, 0, 0] > 0:
            return self.block(y)
        return self.block(y, residual=False)


class TheSameInBoth(Branches):
    def forward(self, x):
        y = self.stem(x)
        if x[0, 0, 0, 0] > 0:
            return self.block(y, True)
        return self.block(y * 0.5, True)


def images(corner: float, seed: int = 0, size: int = 16) -> Tensor:
    """Four images whose first pixel is this."""
    x = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(seed))
    x[:, 0, 0, 0] = corner
    return x


def converted(model: nn.Module) -> fxconv.Conversion:
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_uniform_(parameter)
    return fxconv.convert(model.eval(), [images(1.0)], recipe=("none",))


def worst(conversion: fxconv.Conversion, model: nn.Module, path: Path, *inputs: Tensor) -> float:
    """The lowest SQNR of what the file answers, in decibels."""
    conversion.save(path)
    module = torch.jit.mobile._load_for_lite_interpreter(io.BytesIO(path.read_bytes()))
    each = [Similarity() for _ in inputs]
    with torch.no_grad():
        for similarity, x in zip(each, inputs, strict=True):
            similarity.add([model(x.clone())], [module(x.clone())])
    return min(similarity.sqnr_db for similarity in each)


@pytest.mark.parametrize("kind", [OneFlagInEach, LeftOutInOne, TheSameInBoth])
def test_a_flag_is_right_in_the_branch_that_was_not_taken(kind, tmp_path):
    model = kind()
    conversion = converted(model)
    assert conversion.verdict == "converted and verified"
    # one flag in every branch is what the part is for
    assert list(conversion.rewritten.graphs) == ["stem", "block" if kind is TheSameInBoth else "block.conv"]
    assert conversion.artifact.int8_macs_share == 1.0
    assert worst(conversion, model, tmp_path / "x.ptl", images(1.0, 5)[:1], images(-1.0, 6)[:1]) > 20


class Recurrent(nn.Module):
    """An LSTM cell runs over the columns, with a state for each image of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.cell, self.fc = nn.Conv2d(3, 12, 3, 2, 1), nn.LSTMCell(12, 8), nn.Linear(8, 5)

    def forward(self, x):
        columns = self.conv(x).relu().mean(2).permute(2, 0, 1)
        h, c = torch.zeros(x.size(0), 8), torch.zeros(x.size(0), 8)
        for i in range(columns.size(0)):
            h, c = self.cell(columns[i], (h, c))
        return self.fc(h) if x.sum() > -1e9 else self.fc(c)


def test_the_states_of_a_cell(tmp_path):
    model = Recurrent()
    conversion = converted(model)
    assert conversion.verified and conversion.artifact.int8_macs_share > 0.75, "all but the cell"
    assert list(conversion.rewritten.graphs) == ["conv", "cell", "fc"]
    assert worst(conversion, model, tmp_path / "x.ptl", images(1.0, 5)[:1], images(1.0, 6)[:3]) > 20


class Output(OrderedDict):
    """A dict whose items are attributes."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


@dataclass
class Fields:
    """A result of two fields."""

    last: Tensor
    first: Tensor | None = None


class Encoder(nn.Module):
    """Returns what `result` makes of its last value."""

    def __init__(self, result) -> None:
        super().__init__()
        self.conv1, self.conv2, self.result = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), result

    def forward(self, x):
        return self.result(self.conv2(self.conv1(x).relu()).relu())


class Reading(nn.Module):
    """Reads an attribute of what its encoder returns, asks a layer for its type, and writes a view out."""

    def __init__(self, result) -> None:
        super().__init__()
        self.encoder, self.fc = Encoder(result), nn.Linear(8 * 16, 5)

    def forward(self, x):
        if x.isnan().any():
            raise ValueError("the image has a NaN")
        x = x.to(device=next(self.parameters()).device, dtype=self.encoder.conv1.weight.dtype)
        y = self.encoder(x).last
        return Output(out=self.fc(y.view(y.shape[0], -1)) * self.encoder.conv2.weight.shape[0])


@pytest.mark.parametrize(
    "result", [pytest.param(lambda y: Output(last=y), id="dict"), pytest.param(lambda y: Fields(y), id="dataclass")]
)
def test_what_a_part_returns_is_what_it_returned(result):
    conversion = converted(Reading(result))
    assert conversion.verdict == "converted and verified"
    assert list(conversion.rewritten.graphs) == ["encoder", "fc"] and conversion.artifact.int8_macs_share == 1.0
    assert conversion.rewritten.islands == ()
