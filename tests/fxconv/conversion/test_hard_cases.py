"""What breaks other tools' int8: products of squeeze-and-excitation, hardswish, dead and huge channels, tiny ranges."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import fxconv
from fxconv.config import Recipe, WeightScheme
from fxconv.conversion import Conversion


class SqueezeExcite(nn.Module):
    """x * gate(x), as MobileNetV3 and EfficientNet have it."""

    def __init__(self, gate: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 16, 3), act
        self.down, self.up, self.gate = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1), gate
        self.last = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        x = x * self.gate(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return self.last(x.mean((2, 3)))


class Channels(nn.Module):
    """Layers of which one channel is `factor` times the others; the next layer takes it back."""

    def __init__(self, factor: float, act: nn.Module) -> None:
        super().__init__()
        self.stem, self.act, self.next = nn.Conv2d(3, 16, 3), act, nn.Conv2d(16, 16, 1)
        self.last = nn.Linear(16, 10)
        with torch.no_grad():
            self.stem.weight[3] *= factor
            self.stem.bias[3] *= factor
            self.next.weight[:, 3] /= factor or 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.next(self.act(self.stem(x)))).mean((2, 3)))


class Beside(nn.Module):
    """A value in tiny steps beside one in large steps, joined by `joined`."""

    def __init__(self, joined: str, factor: float = 1e-4) -> None:
        super().__init__()
        self.large, self.tiny = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.last, self.joined = nn.Conv2d(16 if joined == "cat" else 8, 4, 1), joined
        with torch.no_grad():
            self.tiny.weight *= factor
            self.tiny.bias *= factor

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.relu(self.large(x)), torch.relu(self.tiny(x))
        return self.last(torch.cat([a, b], 1) if self.joined == "cat" else a + b)


CASES = {
    "hardsigmoid gate": lambda: SqueezeExcite(nn.Hardsigmoid(), nn.Hardswish()),
    "sigmoid gate": lambda: SqueezeExcite(nn.Sigmoid(), nn.SiLU()),
    "dead channel": lambda: Channels(0.0, nn.ReLU()),
    "dead channel, ReLU6": lambda: Channels(0.0, nn.ReLU6()),
    "huge channel": lambda: Channels(300.0, nn.ReLU()),
    "huge channel, hardswish": lambda: Channels(300.0, nn.Hardswish()),
    "tiny beside large, added": lambda: Beside("add"),
    "tiny beside large, joined": lambda: Beside("cat"),
}


def network(name: str) -> nn.Module:
    torch.manual_seed(5)
    return CASES[name]().eval()


def images(count: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    smooth = nn.functional.avg_pool2d(torch.randn(count, 3, 28, 28, generator=generator), 5, stride=1)
    return list((4 * smooth).split(20))


def sqnr(model: nn.Module, done: Conversion) -> float:
    """Decibels on images that calibration did not see."""
    signal, noise = 0.0, 0.0
    with torch.no_grad():
        for image in images(20, 9):
            wanted, got = model(image).double(), done.int8(image).double()
            signal, noise = signal + float(wanted.square().sum()), noise + float((wanted - got).square().sum())
    return 10 * math.log10(signal / noise)


@pytest.mark.parametrize("scheme", WeightScheme)
@pytest.mark.parametrize("name", CASES)
def test_it_is_verified_and_auto_does_not_harm(name: str, scheme: WeightScheme) -> None:
    model, found = network(name), []
    for recipe, least in ((Recipe.none, 5.0), (Recipe.auto, 10.0)):
        done = fxconv.convert(model, images(40, 0), recipe=(recipe,), weight_scheme=scheme, min_sqnr=-100.0)
        # a channel that drowns all others inside leaves little about the means of these outputs, which hardly vary
        assert done.verified and done.converted, done.verdict
        assert next(row for row in done.ledger if row.stage == "int8").sqnr_db >= least
        found.append(sqnr(model, done))
    # where nothing is wrong with int8 the steps move it by what rounding does
    assert found[1] > max(found[0] - 2, 15.0)


@pytest.mark.parametrize("name", CASES)
def test_one_image_to_calibrate_on(name: str) -> None:
    model, found = network(name), []
    for recipe in (Recipe.none, Recipe.auto):
        done = fxconv.convert(model, images(1, 0), recipe=(recipe,), min_sqnr=0.0)
        assert done.verified, done.verdict
        found.append(sqnr(model, done))
    assert found[1] > found[0] - 0.5


def test_equalization_gives_the_small_channels_their_steps_back() -> None:
    model, found = network("huge channel"), []
    for recipe in (Recipe.none, Recipe.equalization):
        found.append(sqnr(model, fxconv.convert(model, images(40, 0), recipe=(recipe,), min_sqnr=0.0)))
    assert found[1] > found[0] + 6
