"""Checkpoints, torchvision's own weights, and batch norms of a network that has none."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fxconv.data.calibration_generated import Generated
from fxconv.errors import UserError
from fxconv.models import batch_norms, loading, pretrained_weights


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Weights 'published' as a file here, under torchvision's kind of name, and an empty cache."""
    state = {"weight": torch.arange(3.0)}
    torch.save(state, tmp_path / "raw")
    data = (tmp_path / "raw").read_bytes()
    name = f"net-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return SimpleNamespace(url=(tmp_path / name).as_uri(), cached=tmp_path / "hub" / "checkpoints" / name)


def test_fetched_weights_are_kept_under_their_name(published):
    state = pretrained_weights.cached_or_fetched(published)
    assert state["weight"].tolist() == [0.0, 1.0, 2.0]
    assert [path.name for path in published.cached.parent.iterdir()] == [published.cached.name]


def test_cached_weights_are_not_fetched_again(published, tmp_path):
    published.cached.parent.mkdir(parents=True)
    torch.save({"weight": torch.ones(1)}, published.cached)
    assert pretrained_weights.cached_or_fetched(published)["weight"].tolist() == [1.0]


def test_weights_of_another_hash_are_thrown_away(published, tmp_path):
    (tmp_path / published.cached.name).write_bytes(b"something else")
    assert pretrained_weights.cached_or_fetched(published) is None
    assert list(published.cached.parent.iterdir()) == []


def test_weights_that_cannot_be_reached_are_none(published):
    published.url += ".gone"
    assert pretrained_weights.cached_or_fetched(published) is None


def test_batch_norms_take_the_statistics_of_their_inputs():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2)).eval()
    batches = [torch.randn(4, 2, 3, 3) * 5 + 2, torch.randn(4, 2, 3, 3)]
    assert batch_norms.reestimate_batch_norms(model, batches) == 2
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(model[0].running_mean, means, atol=1e-6)
    variances = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(model[0].running_var, variances, rtol=1e-5)


def test_modes_and_momentum_are_put_back_even_after_an_error():
    model = nn.Sequential(nn.BatchNorm2d(2, momentum=0.3), nn.BatchNorm2d(2), nn.Dropout())
    model[1].eval()
    for batches in ([torch.randn(2, 2, 4, 4)], [torch.randn(2, 2, 4, 4), torch.randn(2, 5, 4, 4)]):
        try:
            batch_norms.reestimate_batch_norms(model, batches)
        except RuntimeError as error:
            assert "running_mean" in str(error)
        assert [module.training for module in model] == [True, False, True]
        assert [model[0].momentum, model[1].momentum] == [0.3, 0.1]


def test_batch_norms_that_see_one_value_a_channel_keep_their_first_statistics():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2))
    assert batch_norms.reestimate_batch_norms(model, [torch.randn(1, 2, 3, 3) + 5]) == 2
    assert model[0].running_mean.min() > 3
    assert (model[2].running_mean.tolist(), model[2].running_var.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    assert not model[0]._forward_pre_hooks


def test_batch_norms_without_statistics_are_left_alone():
    model = nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.Conv2d(2, 2, 1))
    assert batch_norms.reestimate_batch_norms(model, [torch.randn(2, 2, 4, 4)]) == 0


def test_a_random_networks_outputs_are_not_near_zero_any_more():
    loaded = loading.load("mobilenet_v3_small", "random", "64")
    data = Generated(loaded.preprocessing, 8, 8, 0)
    with torch.no_grad():
        (images,) = next(data.batches())
        before = loaded.module(images).abs().max()
        assert batch_norms.reestimate_batch_norms(loaded.module, data.batches()) == 34
        after = loaded.module(images)
    assert before < 1e-6
    assert after.abs().max() > 1e-2
    assert after.std(0).mean() > 1e-3  # and they depend on the image


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        model[0].bias[1] = value
    with pytest.raises(UserError, match=r"^net: NaN or infinity in 0.bias; mend the weights$"):
        pretrained_weights.check_values(model, "net")


@pytest.mark.parametrize("kind", [torch.float16, torch.float64], ids=str)
def test_weights_of_other_types_are_refused(kind):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).to(kind))
    with pytest.raises(UserError) as error:
        pretrained_weights.check_values(model, "net")
    assert str(error.value) == (
        f"net: weights that are not float32: 1.weight ({kind}), 1.bias ({kind}); call .float() on the model first"
    )


def test_a_negative_variance_is_refused():
    model = nn.Sequential(nn.BatchNorm2d(2))
    model[0].running_var[0] = -1e-3
    with pytest.raises(UserError, match=r"^net: 0.running_var is negative, and has no square root; mend the weights$"):
        pretrained_weights.check_values(model, "net")


def test_a_variance_of_zero_is_warned_of_where_it_amplifies():
    model = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(2, affine=False), nn.BatchNorm2d(3), nn.InstanceNorm2d(2))
    assert pretrained_weights.check_values(model, "net") == ()
    model[0].running_var[1:] = 0
    model[1].running_var[0] = 0
    model[2].running_var[0] = 0
    with torch.no_grad():
        model[0].weight[3] = 0  # nothing comes through
        model[2].weight[0] = 0
    assert pretrained_weights.check_values(model, "net") == (
        "batch norms with a running variance of 0: 0 (2 of 4 channels), 1 (1 of 2 channels); they amplify whatever "
        "differs from the mean, int8 rounding included",
    )
