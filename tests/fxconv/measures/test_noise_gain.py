"""A network that amplifies any noise is told from one that does not by noise in its float form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, fx, nn

from fxconv.measures.noise_gain import amplifies_noise, noise_gain


def deep(layers: int, gain: float) -> nn.Module:
    """Tanh layers whose matrices deviate by gain / sqrt(fan-in): chaotic above 1 (Poole et al. 2016)."""
    generator = torch.Generator().manual_seed(0)
    parts: list[nn.Module] = [nn.Flatten()]
    for _ in range(layers):
        linear = nn.Linear(48, 48, bias=False)
        nn.init.normal_(linear.weight, std=gain * 48**-0.5, generator=generator)
        parts += [linear, nn.Tanh()]
    return nn.Sequential(*parts).eval()


def images(count: int = 4) -> list[tuple[Tensor, ...]]:
    return [(image,) for image in torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1)).split(1)]


class Two(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.first(x), self.second(x)


class ByFunction(nn.Module):
    """Its layers are functions, in which no hook could add noise."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(part.weight for part in deep(40, 3.0) if isinstance(part, nn.Linear))

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(1)
        for weight in self.weights:
            y = torch.tanh(nn.functional.linear(y, weight))
        return y


class Boxes(nn.Module):
    """A list of images in, as many values out as lie above a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.conv = nn.Conv2d(3, 64, 3)
        nn.init.normal_(self.conv.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, x: list[Tensor]) -> list[dict[str, Tensor]]:
        found = [self.conv(image[None]).flatten() for image in x]
        return [{"boxes": each[each > self.threshold][:, None], "labels": torch.ones(3).long()} for each in found]


class Remembering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


@pytest.mark.parametrize(
    ("model", "amplifies"),
    [
        (deep(40, 3.0), True),
        (ByFunction().eval(), True),
        (fx.symbolic_trace(deep(40, 3.0)), True),
        (nn.Sequential(fx.symbolic_trace(deep(20, 3.0)), deep(20, 3.0)), True),
        (Two(deep(2, 1.0), deep(40, 3.0)), True),
        (deep(40, 1.0), False),
        (deep(3, 3.0), False),
        (Two(deep(2, 1.0), nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())), False),
    ],
    ids=["chaotic", "functions", "a graph", "in parts", "one of two", "deep but no chaos", "short", "ordinary"],
)
def test_a_chaotic_network_amplifies_noise_and_an_ordinary_does_not(model, amplifies):
    assert amplifies_noise(model, images()) is amplifies


def test_what_a_layer_and_the_input_add_is_40_decibels_each():
    gain = noise_gain(deep(1, 1e-3), images())  # tanh passes small values on as they are, and adds the third
    assert gain.worst == pytest.approx(40 - 10 * math.log10(3), abs=1.5)
    assert gain.sqnr == noise_gain(deep(1, 1e-3), images()).sqnr != noise_gain(deep(1, 1e-3), images(), seed=1).sqnr
    assert noise_gain(nn.Identity(), images()).worst == pytest.approx(40, abs=1.5)


def test_an_offset_lends_no_power():
    class Offset(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1000

    assert noise_gain(Offset(), images()).worst == pytest.approx(40, abs=1.5)


def test_boxes_that_noise_adds_or_takes_away_cannot_be_compared():
    given = [([image[0]],) for (image,) in images()]
    assert noise_gain(Boxes(0.0), given).sqnr == (-math.inf,)
    assert not amplifies_noise(Boxes(-1e4), given)


def test_whole_numbers_and_constants_say_nothing_and_complex_numbers_both_parts():
    class Several(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return x.argmax(1), torch.arange(4.0) + 0 * x[0, 0, 0], torch.complex(x, 0.01 * x.flip(3))

    (complex_alone,) = noise_gain(Several(), images()).sqnr
    assert complex_alone == pytest.approx(40, abs=1.5)
    assert noise_gain(nn.Flatten(), []).worst == math.inf


def test_the_module_keeps_nothing_of_it_and_its_weights_no_noise():
    model = nn.Sequential(Remembering(), deep(2, 1.0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image = images(1)
    kept = image[0][0].clone()
    assert math.isfinite(noise_gain(model, image).worst)  # one image: about the mean of its values
    assert model[0].calls == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(image[0][0], kept)
