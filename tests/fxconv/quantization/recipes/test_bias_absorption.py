"""Bias absorption: what a channel always carries moves into the next layer, and float computes the same."""

from __future__ import annotations

import pytest
import torch
from test_equalization import equalized, extremes
from torch import Tensor, nn

import fxconv
from fxconv.config import Config, Recipe
from fxconv.errors import ConversionError
from fxconv.quantization import fusion
from fxconv.quantization.passes import selected
from fxconv.quantization.recipes.bias_absorption import Absorbed, plan
from fxconv.quantization.recipes.channels import channel_groups
from rewrites import rewrite
from rewrites.modules import ChannelReLU


def carrying(layer: nn.Module, count: int = 16) -> nn.Module:
    """A layer whose channels lie around 0, 1, 2, ... and vary by little."""
    with torch.no_grad():
        layer.weight *= 0.2
        layer.bias.copy_(torch.arange(count) * 0.25)
    return layer


class Bottleneck(nn.Module):
    """What an inverted residual does: no activation before the sum, and a pointwise layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.out = carrying(nn.Conv2d(3, 16, 1)), carrying(nn.Conv2d(16, 16, 1))
        self.first, self.last = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(x + self.out(torch.relu(self.first(x))))


NETWORKS = {
    "no activation": lambda: nn.Sequential(carrying(nn.Conv2d(3, 16, 3)), nn.Conv2d(16, 8, 1)),
    "ReLU": lambda: nn.Sequential(carrying(nn.Conv2d(3, 16, 3)), nn.ReLU(), nn.Conv2d(16, 8, 1, bias=False)),
    "ReLU6": lambda: nn.Sequential(carrying(nn.Conv2d(3, 16, 3)), nn.ReLU6(), nn.Conv2d(16, 8, 1)),
    "grouped": lambda: nn.Sequential(carrying(nn.Conv2d(3, 16, 3)), nn.ReLU(), nn.Conv2d(16, 8, 1, groups=4)),
    "pooled": lambda: nn.Sequential(
        carrying(nn.Conv2d(3, 16, 3)), nn.ReLU(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 8),
    ),
    "residual": Bottleneck,
}  # fmt: skip


def network(name: str) -> nn.Module:
    torch.manual_seed(3)
    return NETWORKS[name]().eval()


def images(count: int = 8, factor: float = 1.0, seed: int = 0) -> Tensor:
    return factor * torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).clamp(-2, 2)


def planned(model: nn.Module) -> tuple[nn.Module, tuple[Absorbed, ...], dict[str, Tensor]]:
    fused = fusion.fuse(rewrite(model, selected(Config())).module)
    seen = extremes(fused, [images()])
    return (fused, *plan(fused, seen.lows, seen.highs))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_stays_on_inputs_far_from_those_seen(name: str) -> None:
    fused, found, _ = planned(network(name))
    assert sum(one.changed for one in found) > 8
    other = images(4, 20.0, seed=1)
    with torch.no_grad():
        wanted, got = fused(other), equalized(fused, list(found))(other)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_values_take_less_of_a_range(name: str) -> None:
    fused, found, taken = planned(network(name))
    before = extremes(fused, [images()])
    after = extremes(equalized(fused, list(found)), [images()])
    assert taken
    for path in taken:
        old = max(float(before.highs[path].max()), -float(before.lows[path].min()))
        new = max(float(after.highs[path].max()), -float(after.lows[path].min()))
        assert new < 0.8 * old
        torch.testing.assert_close(after.highs[path], before.highs[path] - taken[path], atol=1e-4, rtol=1e-4)


def test_a_channel_that_falls_to_zero_or_reaches_its_cap_stays() -> None:
    model = network("ReLU6")
    with torch.no_grad():
        model[0].bias[:3] = torch.tensor([-9.0, 9.0, 0.0])
    fused, (one,), _ = planned(model)
    (moved,) = one.layers.values()
    assert not moved[:3].any() and bool((moved[8:] > 0).all())
    (path,) = one.layers
    own = equalized(fused, [one]).get_submodule(path)[1]
    assert isinstance(own, ChannelReLU) and own.cap == 6.0
    torch.testing.assert_close(own.floors, -moved)
    torch.testing.assert_close(own.caps, 6 - moved)


class Padded(nn.Module):
    """What reads zeros that no channel gave, or averages that are none."""

    def __init__(self, activation: nn.Module, behind: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(carrying(nn.Conv2d(3, 16, 3)), activation, behind)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize(
    "behind",
    [
        nn.Conv2d(16, 8, 3, padding=1),
        nn.Conv2d(16, 8, 3, padding="same"),
        nn.Sequential(nn.AvgPool2d(3, padding=1), nn.Conv2d(16, 8, 1)),
        nn.Sequential(nn.AvgPool2d(3, divisor_override=2), nn.Conv2d(16, 8, 1)),
    ],
)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Identity()])
def test_padding_reads_what_no_channel_gave(activation: nn.Module, behind: nn.Module) -> None:
    fused, found, taken = planned(Padded(activation, behind).eval())
    assert found == () and taken == {}
    assert not any(group.keeps_constants for group in channel_groups(fused))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_with_moved_channels_is_verified(name: str) -> None:
    done = fxconv.convert(network(name), list(images(12).split(1)), recipe=(Recipe.bias_absorption,))
    assert done.verified, done.verdict
    rows = {row.stage: row for row in done.ledger}
    assert rows["equalized"].sqnr_db > 90
    assert done.recipe.absorbed and not done.recipe.equalized
    content = done.report.json()
    assert content["recipe"]["absorbed"][0]["moved"] > 8 and content["recipe"]["equalized"] == []


@pytest.mark.parametrize("name", ["no activation", "residual"])
def test_it_pays_where_channels_lie_apart(name: str) -> None:
    found = []
    for recipe in ((Recipe.none,), (Recipe.bias_absorption,)):
        done = fxconv.convert(network(name), list(images(12).split(1)), recipe=recipe)
        found.append({row.stage: row for row in done.ledger}["int8"].sqnr_db)
    assert found[1] > found[0] + 1


def test_both_changes_together_keep_the_function() -> None:
    model = network("residual")
    batches = list(images(12).split(1))
    done = fxconv.convert(model, batches, recipe=(Recipe.equalization, Recipe.bias_absorption))
    assert done.verified, done.verdict
    assert done.recipe.absorbed and done.recipe.equalized


def test_where_nothing_can_be_moved_it_is_refused() -> None:
    model = Padded(nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1)).eval()
    with pytest.raises(ConversionError, match="recipe='bias-absorption'"):
        fxconv.convert(model, [images(2)], recipe=(Recipe.bias_absorption,))


class Constant(nn.Module):
    """A branch that always carries the same, beside an ordinary one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.other = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(3, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x.clamp(0.7, 0.7)))) + self.other(x)


def test_what_is_all_constant_stays() -> None:
    torch.manual_seed(0)
    done = fxconv.convert(Constant().eval(), list(images(40).split(1)))
    assert done.verified, done.verdict
