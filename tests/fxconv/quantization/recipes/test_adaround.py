"""Adaptive rounding: weights on the steps beside them, and outputs nearer to float's than with the nearest steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fxconv_commands import NETWORKS, Command
from torch import Tensor, nn
from torch.nn import functional

import fxconv
from fxconv.config import Config, Recipe, WeightScheme
from fxconv.errors import UserError
from fxconv.quantization import static
from fxconv.quantization.recipes import adaround as adaptive
from fxconv.quantization.recipes.adaround import InputGrams, adaround


def correlated(count: int, channels: int, size: int = 10, seed: int = 0) -> Tensor:
    """Smooth images whose channels are mixtures of the same three: errors of weights may cancel."""
    mixing = torch.randn(channels, 3, generator=torch.Generator().manual_seed(99))
    noise = torch.randn(count, 3, size + 4, size + 4, generator=torch.Generator().manual_seed(seed))
    return torch.einsum("cm,nmhw->nchw", mixing, functional.avg_pool2d(noise, 5, stride=1))


LAYERS = {
    "3x3": lambda: nn.Conv2d(8, 6, 3, padding=1),
    "strided": lambda: nn.Conv2d(8, 6, 3, stride=2, dilation=2),
    "reflecting": lambda: nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"),
    "same": lambda: nn.Conv2d(8, 6, (3, 2), padding="same"),
    "depthwise": lambda: nn.Conv2d(8, 8, 3, groups=8),
    "grouped": lambda: nn.Conv2d(8, 4, 1, groups=2),
    "1-D": lambda: nn.Conv1d(8, 6, 3, padding=1),
    "linear": lambda: nn.Linear(10, 6),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_matrix_gives_the_error_of_the_outputs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "_PLACES", 10**6)
    torch.manual_seed(0)
    layer = LAYERS[name]()
    given = correlated(4, 8)
    given = given.flatten(2) if name == "1-D" else given
    watching = InputGrams(nn.Sequential(layer))
    with watching, torch.no_grad():
        for image in given.split(1):
            layer(image)
    gram = watching.grams["0"]
    errors = torch.randn_like(layer.weight)
    changed = LAYERS[name]()
    changed.weight, changed.bias = nn.Parameter(layer.weight.detach() + errors), layer.bias
    with torch.no_grad():
        wanted = (changed(given) - layer(given)).square()
    channel = wanted.ndim - 1 if name == "linear" else 1
    wanted = wanted.mean([dim for dim in range(wanted.ndim) if dim != channel])
    found = adaptive._squared(errors.reshape(gram.shape[0], -1, gram.shape[1]), gram).flatten()
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(7, 7), (224, 224), (1, 5000), (5000, 1), (544, 960), (2, 300)])
def test_of_a_large_image_few_places_are_noted_and_they_lie_all_over_it(size: tuple[int, int]) -> None:
    down, right = adaptive._every(size)
    rows, columns = range(0, size[0], down), range(0, size[1], right)
    assert min(49, size[0] * size[1]) // 2 <= len(rows) * len(columns) <= 128
    for noted, length in zip((rows, columns), size, strict=True):
        assert length < 7 or noted[-1] >= 0.8 * (length - 1)


def gram_of(layer: nn.Conv2d, images: Tensor) -> Tensor:
    watching = InputGrams(nn.Sequential(layer))
    with watching, torch.no_grad():
        layer(images)
    return watching.grams["0"]


@pytest.mark.parametrize("groups", [1, 8])
def test_the_output_is_nearer_to_floats(groups: int) -> None:
    torch.manual_seed(1)
    layer, images = nn.Conv2d(8, 16, 3, groups=groups, bias=False), correlated(16, 8)
    weight = layer.weight.detach()
    scales = weight.abs().flatten(1).amax(1) / 7  # coarse steps, so that rounding matters
    found = adaround(weight, scales, gram_of(layer, images), (-7, 7))
    column = scales.view(-1, 1, 1, 1)
    steps = weight / column
    on = found / column
    torch.testing.assert_close(on, on.round(), atol=1e-4, rtol=0)
    assert bool(((on - steps).abs() < 1 + 1e-4).all()) and not torch.equal(on.round(), steps.round())

    def lost(other: Tensor, of: Tensor) -> Tensor:
        return (functional.conv2d(of, other - weight, groups=groups)).square().sum((0, 2, 3))

    nearest = steps.round() * column
    assert bool((lost(found, images) <= lost(nearest, images) * 1.001).all())
    unseen = correlated(16, 8, seed=1)
    assert float(lost(found, unseen).sum()) < 0.8 * float(lost(nearest, unseen).sum())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_output_that_rounding_to_nearest_suits_keeps_it(seed: int) -> None:
    # of few inputs that hang together: where all weights are free at once, an output may come out worse
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(40, 3, generator=generator) @ torch.randn(3, 6, generator=generator)
    inputs += 0.01 * torch.randn(40, 6, generator=generator)
    weight = torch.randn(8, 6, generator=generator)
    found = adaround(weight, torch.full((8,), 0.4), (inputs.T @ inputs / 40)[None], (-7, 7))
    nearest = (weight / 0.4).round().clamp(-7, 7) * 0.4
    lost, usual = ((inputs @ (other - weight).T).square().sum(0) for other in (found, nearest))
    assert bool((lost <= usual * 1.001).all()) and float(lost.sum()) < 0.8 * float(usual.sum())


def test_what_lies_on_a_step_stays() -> None:
    gram = correlated(1, 6).flatten(2)[0]
    weight = torch.randint(-5, 6, (4, 6, 1, 1)).float() * 0.25
    found = adaround(weight, torch.tensor(0.25), (gram @ gram.T)[None], (-127, 127), 50)
    assert torch.equal(found, weight)
    # the first input is always 0.4 of the second: a step more for its weight would make up for the other's rounding
    gram = torch.tensor([[[0.16, 0.4], [0.4, 1.0]]])
    assert adaround(torch.tensor([[0.0, 0.4]]), torch.tensor(1.0), gram, (-7, 7)).tolist() == [[0.0, 0.0]]


class Mixing(nn.Module):
    """Layers whose inputs hang together, a batch norm and a depthwise one among them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.deep, self.head = nn.Conv2d(16, 16, 3, groups=16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.deep(torch.relu(self.norm(self.stem(x))))).mean((2, 3)))


RECIPES = [
    (Recipe.adaround,),
    (Recipe.weight_ranges, Recipe.adaround),
    (Recipe.bias_correction, Recipe.weight_ranges, Recipe.adaround),
    (Recipe.auto, Recipe.adaround),
]


@pytest.mark.parametrize("scheme", WeightScheme)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_network_is_verified(recipe: tuple[Recipe, ...], scheme: WeightScheme) -> None:
    torch.manual_seed(2)
    shown = list[tuple[str, int, int]]()
    done = fxconv.convert(
        Mixing().eval(), list(correlated(40, 8).split(1)), recipe=recipe, weight_scheme=scheme,
        progress=lambda *note: shown.append(note),
    )  # fmt: skip
    assert done.verified, done.verdict
    assert done.recipe.steps[-1] is Recipe.adaround and done.recipe.gains[-1].step is Recipe.adaround
    bar = [(now, whole) for step, now, whole in shown if step == "adaptive rounding"]
    assert len(bar) > 10 and bar == sorted(bar) and bar[-1][0] == bar[-1][1]


def test_a_weight_that_is_on_neither_step_fails_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = adaptive.adaround

    def off(weight: Tensor, scales: Tensor, *rest: object) -> Tensor:
        column = scales.view(-1, *(1 for _ in weight.shape[1:]))
        return (plain(weight, scales, *rest) / column - 2).clamp(-127, 127) * column  # type: ignore[arg-type]

    monkeypatch.setattr(adaptive, "adaround", off)
    done = fxconv.convert(Mixing().eval(), list(correlated(8, 8).split(1)), recipe=(Recipe.adaround,))
    assert not done.verified and "steps from the float weights" in done.verdict


def test_auto_goes_with_it_and_none_does_not() -> None:
    assert Config(recipe=(Recipe.auto, Recipe.adaround)).steps == ()
    assert Config(recipe=(Recipe.adaround,)).steps == (Recipe.adaround,)
    with pytest.raises(UserError, match="adaround goes with auto"):
        Config(recipe=(Recipe.none, Recipe.adaround))


def test_on_the_command_line(command: Command, tmp_path: Path) -> None:
    report, saved, out = tmp_path / "report.json", tmp_path / "saved.json", tmp_path / "out.ptl"
    words = ("convert", f"{NETWORKS}:tiny", "--weights", "random", "--input-size", "32", "--calib-count", "6")
    given = ("--recipe", "auto", "--recipe", "adaround", "--json", str(report), "--save-config", str(saved))
    done = command(*words, *given, "-o", str(out))
    assert done.status == 0, done.stderr
    steps = json.loads(report.read_text())["recipe"]["steps"]
    assert steps[-1] == "adaround" and json.loads(saved.read_text())["recipe"] == steps


class Named(nn.Module):
    """Layers called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(8, 16, 3), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(input=torch.relu(self.first(input=x)))


def test_layers_called_by_keyword() -> None:
    steps = (Recipe.bias_correction, Recipe.adaround)
    done = fxconv.convert(Named().eval(), list(correlated(8, 8).split(1)), recipe=steps)
    assert done.verified, done.verdict


class Growing(nn.Module):
    """A transposed convolution, which is rounded to nearest."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.up, self.last = nn.Conv2d(8, 8, 3), nn.ConvTranspose2d(8, 8, 2, stride=2), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.up(torch.relu(self.first(x)))))


def test_layers_it_does_not_treat_are_named_and_audited_as_rounded_to_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    images = list(correlated(8, 8).split(1))
    done = fxconv.convert(Growing().eval(), images, recipe=(Recipe.adaround,))
    assert done.verified, done.verdict
    (warning,) = [warning for warning in done.warnings if "adaround" in warning]
    assert "adaround leaves up rounded to nearest" in warning
    floor = static.convert_observed

    def off(observed: nn.Module, *rest: Any) -> nn.Module:
        up: Any = observed.get_submodule("up")
        up.weight = nn.Parameter(up.weight.detach() + 0.9 * up.weight.detach().abs().max() / 127)
        return floor(observed, *rest)

    monkeypatch.setattr(static, "convert_observed", off)
    done = fxconv.convert(Growing().eval(), images, recipe=(Recipe.adaround,))
    assert not done.verified and "steps from the float weights" in done.verdict
