"""Biases that take up the mean error of rounded weights: the mean of what a layer gives stays what it is."""

from __future__ import annotations

import pytest
import torch
import torch.ao.nn.quantized as nnq
from torch import nn

import fxconv
from fxconv.config import Recipe, WeightScheme
from fxconv.quantization.recipes.bias_correction import InputMeans, bias_correction
from fxconv.verification.weights_and_ranges import AllowedChanges

LAYERS = {
    "convolution": (nn.Conv2d(6, 8, 1), (16, 6, 5, 5)),
    "grouped": (nn.Conv2d(6, 9, 1, groups=3), (16, 6, 5, 5)),
    "depthwise": (nn.Conv2d(6, 6, 1, groups=6), (16, 6, 5, 5)),
    "one dimension": (nn.Conv1d(6, 8, 1), (16, 6, 5)),
    "linear": (nn.Linear(6, 8), (16, 6)),
    "linear on rows": (nn.Linear(6, 8), (4, 7, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_mean_output_is_what_it_was(name: str) -> None:
    layer, shape = LAYERS[name]
    images = torch.rand(shape) * 3 + 1
    means = InputMeans(layer)
    with means, torch.no_grad():
        wanted = layer(images)
    rounded = (layer.weight.detach() * 4).round() / 4
    addition = bias_correction(layer, rounded, means.means[""])
    got = torch.func.functional_call(layer, {"weight": rounded, "bias": layer.bias.detach() + addition}, images)
    plain = torch.func.functional_call(layer, {"weight": rounded, "bias": layer.bias.detach()}, images)
    channel = got.ndim - 1 if isinstance(layer, nn.Linear) else 1
    others = [dim for dim in range(got.ndim) if dim != channel]
    torch.testing.assert_close(got.mean(others), wanted.mean(others), rtol=1e-4, atol=1e-4)
    assert (plain.mean(others) - wanted.mean(others)).abs().max() > 0.01


def test_means_add_up_over_batches() -> None:
    layer, images = nn.Conv2d(3, 4, 3), torch.randn(10, 3, 8, 8)
    whole, parts = InputMeans(layer), InputMeans(layer)
    with torch.no_grad():
        with whole:
            layer(images)
        with parts:
            for batch in images.split(3):
                layer(batch)
    torch.testing.assert_close(parts.means[""], whole.means[""])
    torch.testing.assert_close(whole.means[""], images.double().mean((0, 2, 3)))


def test_means_of_two_runs_are_those_of_both_together() -> None:
    layer, images = nn.Conv2d(3, 4, 3), torch.randn(10, 3, 8, 8) + 1
    first, second = InputMeans(layer), InputMeans(layer)
    with torch.no_grad():
        for means, batch in ((first, images[:2]), (second, images[2:])):
            with means:
                layer(batch)
    first.add(second)
    torch.testing.assert_close(first.means[""], images.double().mean((0, 2, 3)))


def test_a_layer_under_two_paths_has_its_mean_under_both() -> None:
    layer = nn.Linear(3, 3)
    model = nn.ModuleDict({"a": layer, "b": layer})
    means = InputMeans(model)
    with means, torch.no_grad():
        layer(torch.ones(2, 3))
    assert set(means.means) == {"a", "b"}


def biased() -> nn.Module:
    """A network whose inputs are far from 0 on the average, so that rounded weights move its means."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=4), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 16, 5),
    ).eval()  # fmt: skip


def first_bias(int8: nn.Module) -> torch.Tensor | None:
    return next(part.bias() for part in int8.modules() if isinstance(part, nnq.Conv2d))


IMAGES = [torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(i)) + 2 for i in range(4)]


@pytest.mark.parametrize("scheme", WeightScheme)
def test_a_corrected_network_is_audited_and_converted(scheme: WeightScheme) -> None:
    plain = fxconv.convert(biased(), IMAGES, recipe=(Recipe.none,), weight_scheme=scheme)
    corrected = fxconv.convert(biased(), IMAGES, recipe=(Recipe.bias_correction,), weight_scheme=scheme)
    assert corrected.verified, corrected.verdict
    assert corrected.recipe.steps == (Recipe.bias_correction,)
    before, after = (first_bias(found.int8) for found in (plain, corrected))
    assert before is None or not before.any()
    assert after is not None and after.any()


def test_the_audit_wants_the_correction_the_weights_call_for(monkeypatch: pytest.MonkeyPatch) -> None:
    own = AllowedChanges.of

    def doubled(self: AllowedChanges, place: str) -> AllowedChanges:
        found = own(self, place)
        return AllowedChanges({path: 2 * mean for path, mean in found.means.items()}, found.cuts)

    monkeypatch.setattr(AllowedChanges, "of", doubled)
    failed = fxconv.convert(biased(), IMAGES, recipe=(Recipe.bias_correction,))
    assert "its bias is not the float layer's, corrected" in failed.verdict


def test_an_uncorrected_bias_fails_where_one_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxconv.quantization.static.corrected", lambda *_: None)
    failed = fxconv.convert(biased(), IMAGES, recipe=(Recipe.bias_correction,))
    assert not failed.verified and "bias" in failed.verdict


def test_the_users_own_weights_stay() -> None:
    model = biased()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fxconv.convert(model, IMAGES, recipe=(Recipe.bias_correction, Recipe.weight_ranges))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
