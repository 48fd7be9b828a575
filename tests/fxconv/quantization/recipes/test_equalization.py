"""Cross-layer equalization: the float function stays, for all inputs, and small channels get more steps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from fxconv_archives import records
from torch import Tensor, nn

import fxconv
from fxconv.config import Config, Recipe, WeightScheme
from fxconv.errors import ConversionError
from fxconv.quantization import fusion
from fxconv.quantization.passes import selected
from fxconv.quantization.recipes.channels import ChannelExtremes, channel_groups
from fxconv.quantization.recipes.equalization import Equalized, plan
from fxconv.targets.mobile.target import MOBILE
from rewrites import rewrite
from rewrites.modules import ChannelReLU


def uneven(layer: nn.Module) -> nn.Module:
    """Channels whose outputs differ by a factor of up to 100; two of them never fire, or hardly."""
    with torch.no_grad():
        count = layer.weight.shape[0]
        layer.weight *= torch.logspace(0, -2, count).view(-1, *(1 for _ in layer.weight.shape[1:]))
        layer.bias *= torch.logspace(0, -2, count)
        layer.weight[3], layer.bias[3] = 0, -1
    return layer


NETWORKS = {
    "ReLU": lambda: [uneven(nn.Conv2d(3, 16, 3)), nn.ReLU(), nn.Conv2d(16, 8, 1)],
    "ReLU6": lambda: [uneven(nn.Conv2d(3, 16, 3)), nn.ReLU6(), nn.Conv2d(16, 8, 1)],
    "no activation": lambda: [uneven(nn.Conv2d(3, 16, 3)), nn.Conv2d(16, 8, 3, padding=1)],
    "depthwise": lambda: [
        uneven(nn.Conv2d(3, 16, 1)), nn.ReLU6(), uneven(nn.Conv2d(16, 16, 3, groups=16)), nn.ReLU6(),
        nn.Conv2d(16, 8, 1),
    ],
    "grouped": lambda: [uneven(nn.Conv2d(3, 16, 3)), nn.ReLU(), nn.Conv2d(16, 8, 3, groups=4)],
    "batch norm": lambda: [nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1)],
    "pooled": lambda: [
        uneven(nn.Conv2d(3, 16, 3)), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 8),
    ],
    "linear": lambda: [nn.Flatten(), uneven(nn.Linear(3 * 64, 16)), nn.ReLU(), nn.Linear(16, 8)],
}  # fmt: skip


def network(name: str) -> nn.Module:
    torch.manual_seed(7)
    model = nn.Sequential(*NETWORKS[name]()).eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data = torch.logspace(0, -2, 16)
    return model


def images(count: int = 8, factor: float = 3.0, seed: int = 0) -> Tensor:
    return factor * torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def extremes(module: nn.Module, batches: list[Tensor]) -> ChannelExtremes:
    """What the channels of a fused module reach on these images."""
    found = ChannelExtremes(module)
    with found, torch.no_grad():
        for batch in batches:
            module(batch)
    return found


def peaks(module: nn.Module) -> dict[str, Tensor]:
    """The largest magnitude of each channel."""
    found = extremes(module, list(images().split(2)))
    return {path: torch.maximum(found.lows[path].abs(), found.highs[path].abs()) for path in found.lows}


def planned(model: nn.Module, scheme: WeightScheme = WeightScheme.per_channel) -> tuple[nn.Module, list[Equalized]]:
    """The fused float module, and what is planned for it."""
    fused = fusion.fuse(rewrite(model, selected(Config())).module)
    return fused, list(plan(copy.deepcopy(fused), peaks(fused), scheme))


def equalized(fused: nn.Module, found: list[Equalized]) -> nn.Module:
    """A copy, changed."""
    copied = copy.deepcopy(fused)
    for one in found:
        one.apply(copied)
    return copied


@pytest.mark.parametrize("scheme", WeightScheme)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_stays_on_inputs_far_from_those_seen(name: str, scheme: WeightScheme) -> None:
    fused, found = planned(network(name), scheme)
    assert found
    other = images(4, 10.0, seed=1)
    with torch.no_grad():
        wanted = fused(other)
        got = equalized(fused, found)(other)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert any(one.changed for one in found)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_channel_grows_beyond_the_largest(name: str) -> None:
    fused, found = planned(network(name))
    before, after = peaks(fused), peaks(equalized(fused, found))
    for one in found:
        for path in one.layers:
            old, new = before[path], after[path]
            assert float(new.max()) == pytest.approx(float(old.max()), rel=1e-4)
            assert bool((new >= old * (1 - 1e-4)).all()) and bool((new > 1.01 * old).any())
        assert float(one.scales.min()) >= 1 / 64 and float(one.scales.max()) <= 1


def test_a_channel_at_its_cap_stays_and_the_others_get_caps_of_their_own() -> None:
    model = network("ReLU6")
    with torch.no_grad():
        model[0].bias[0] = 50.0
    fused, (one,) = planned(model)
    (path,) = one.layers
    assert one.caps == {path: 6.0} and float(one.scales[0]) == 1.0
    own = equalized(fused, [one]).get_submodule(path)[1]
    assert isinstance(own, ChannelReLU) and own.cap == 6.0
    torch.testing.assert_close(own.caps, 6.0 / one.scales)


def test_a_dead_channel_is_left_alone() -> None:
    _, (one,) = planned(network("ReLU"))
    assert float(one.scales[3]) == 1.0


class Residual(nn.Module):
    """Two blocks around sums, as in an inverted residual: what they write and read has the same channels."""

    def __init__(self, relu: bool = False) -> None:
        super().__init__()
        self.stem = uneven(nn.Conv2d(3, 16, 1))
        self.first, self.out = uneven(nn.Conv2d(16, 16, 3, padding=1)), uneven(nn.Conv2d(16, 16, 1))
        self.last, self.relu = nn.Conv2d(16, 8, 1), relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.out(torch.relu(self.first(x)))
        return self.last(torch.relu(x) if self.relu else x)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("scheme", WeightScheme)
def test_all_that_writes_to_a_sum_shares_its_factors(scheme: WeightScheme, relu: bool) -> None:
    torch.manual_seed(7)
    fused, found = planned(Residual(relu).eval(), scheme)
    (stage,) = {(one.layers, one.readers) for one in found if "stem" in one.layers}
    assert stage == (("stem", "out"), ("first", "last"))
    other = images(4, 10.0, seed=1)
    with torch.no_grad():
        wanted, got = fused(other), equalized(fused, found)(other)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    done = fxconv.convert(Residual(relu).eval(), list(images(12).split(1)), recipe=(Recipe.equalization,))
    assert done.verified, done.verdict


class Read(nn.Module):
    """Layers that must not be changed: read by what minds a factor, behind another activation, shared, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.after = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.swish, self.end = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.again = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        x = torch.sigmoid(x) * self.after(x)
        x = self.end(nn.functional.hardswish(self.swish(x)))
        return self.again(torch.relu(self.again(x)))


class Mixed(nn.Module):
    """A sum of a layer's channels and of what no layer gave, and one behind pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.first(x)
        return self.last(nn.functional.avg_pool2d(self.second(x), 2) + nn.functional.avg_pool2d(x, 2))


class Positions(nn.Module):
    """As many positions as channels, and what is read are the positions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mix = nn.Conv2d(3, 16, 1, stride=2), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.first(x).flatten(2))


class PooledFeatures(nn.Module):
    """Pooling of what a linear layer gives mixes its features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 8)
        self.pool = nn.MaxPool1d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.pool(self.first(x.mean(1))))


class Tokens(nn.Module):
    """A transformer's feed-forward: linear layers on [N, T, C], with as many tokens as channels."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(8, 16), act, nn.Linear(16, 8)
        with torch.no_grad():
            self.first.weight *= torch.logspace(0, -2, 16)[:, None]
            self.first.bias.copy_(torch.arange(16) * 0.4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.first(x.flatten(1, 2)[:, :16])))


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU6(), nn.Identity()])
def test_channels_of_tokens_are_the_last_dimension(act: nn.Module) -> None:
    model, batches = Tokens(act).eval(), list(images(12, 0.3).split(1))
    steps = (Recipe.equalization, Recipe.bias_absorption)
    done = fxconv.convert(model, batches, recipe=steps)
    assert done.verified, done.verdict
    other = images(4, 20.0, seed=1)
    floating = equalized(fusion.fuse(done.rewritten.module), list(done.recipe.changes))
    with torch.no_grad():
        wanted = model(other)
        torch.testing.assert_close(floating(other), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("kind", [Read, Mixed, Positions, PooledFeatures])
def test_what_minds_a_factor_is_left_alone(kind: type[nn.Module]) -> None:
    fused = fusion.fuse(rewrite(kind().eval(), selected(Config())).module)
    assert list(channel_groups(fused)) == []
    with pytest.raises(ConversionError, match="recipe='equalization'"):
        fxconv.convert(kind().eval(), [images(2)], recipe=(Recipe.equalization,))


@pytest.mark.parametrize("scheme", WeightScheme)
@pytest.mark.parametrize("name", ["ReLU", "ReLU6", "depthwise", "pooled"])
def test_an_equalized_network_is_verified(name: str, scheme: WeightScheme) -> None:
    found = fxconv.convert(
        network(name), list(images(12).split(1)), recipe=(Recipe.equalization,), weight_scheme=scheme
    )
    assert found.verified, found.verdict
    rows = {row.stage: row for row in found.ledger}
    assert rows["equalized"].sqnr_db > 90 and rows["equalized"].against == "original"
    assert found.recipe.equalized
    content = found.report.json()
    assert content["recipe"]["equalized"][0]["scaled"] > 0


def test_it_pays_for_uneven_channels() -> None:
    batches = list(images(12).split(1))
    plain = fxconv.convert(network("depthwise"), batches, recipe=(Recipe.none,))
    equalized = fxconv.convert(network("depthwise"), batches, recipe=(Recipe.equalization,))
    found = [{row.stage: row for row in each.ledger}["int8"].sqnr_db for each in (plain, equalized)]
    assert found[1] > found[0] + 1


def test_the_twin_is_the_float_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    twins, float_twin = list[bytes](), type(MOBILE).float_twin

    def kept(*given: Any) -> bytes:
        twins.append(float_twin(*given))
        return twins[-1]

    monkeypatch.setattr(type(MOBILE), "float_twin", kept)
    model, batches = network("depthwise"), list(images(6).split(1))
    done = [fxconv.convert(model, batches, recipe=(recipe,)) for recipe in (Recipe.none, Recipe.equalization)]
    assert done[1].recipe.equalized and [one.artifact.float_bytes for one in done] == list(map(len, twins))
    assert records(twins[0]) == records(twins[1])


class Widths(nn.Module):
    """A linear layer reads the width of images, of which there is as much as there are channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = uneven(nn.Conv2d(3, 8, 1)), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))


def test_a_reader_along_another_axis_reads_no_channels() -> None:
    fused = fusion.fuse(rewrite(Widths().eval(), selected(Config())).module)
    assert list(channel_groups(fused)) == []
