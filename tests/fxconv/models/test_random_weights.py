"""Random weights whose outputs say nothing are drawn or scaled until they do; all others are left alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from fxconv.data.calibration import Batches
from fxconv.models import loading
from fxconv.models.random_weights import prepare_random_weights, redraw_silent, strengthen, unnormalized


class Scaled(nn.Module):
    """A layer scale of 1e-6, a token and a head that begin at 0, biases and batch norms as always."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Linear(8, 4)
        self.scale, self.token = nn.Parameter(torch.full((8, 1, 1), 1e-6)), nn.Parameter(torch.zeros(1, 1, 8))
        self.temperature = nn.Parameter(torch.zeros(()))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.scale * self.norm(self.conv(x))).mean((2, 3)))


def test_parameters_of_one_constant_near_0_are_drawn_from_the_seed():
    first, again, other = Scaled(), Scaled(), Scaled()
    before = copy.deepcopy(first.state_dict())
    assert redraw_silent(first, 0) == redraw_silent(again, 0) == ["scale", "token", "head.weight"]
    redraw_silent(other, 1)
    assert 0.1 <= first.scale.min() < first.scale.max() <= 1
    assert 0.2 < first.head.weight.std() < 0.6  # 8 inputs: 0.35
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    for name in ("head.bias", "norm.weight", "norm.bias", "temperature"):
        assert torch.equal(first.state_dict()[name], before[name])
    assert redraw_silent(first, 0) == []


def test_a_network_that_begins_with_zeros_is_told_of():
    loaded = loading.load("vit_b_32", "random")
    assert loaded.warnings == (
        "parameters that vit_b_32 begins with at one constant near 0 are drawn at random: class_token, "
        "heads.head.weight",
    )


class Detector(nn.Module):
    """Faint scores of which none reaches the threshold, beside a backbone that a batch norm follows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.scores = nn.Conv2d(8, 5, 1)
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.constant_(self.scores.bias, -3.0)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.scores(torch.relu(self.norm(self.first(x)))).sigmoid()
        return scores[scores > 0.1]


def test_layers_of_faint_output_are_strengthened_until_the_outputs_say_something():
    torch.manual_seed(0)
    model, data = Detector().eval(), Batches(torch.randn(4, 3, 8, 8))
    backbone, bias = model.first.weight.clone(), model.scores.bias.clone()
    (batch,) = next(data.batches())
    assert not model(batch).numel()
    assert prepare_random_weights(model, data.batches) == (
        "with random weights an output was empty, or all were constant, so layers of faint output were scaled to a "
        "deviation of 1: scores",
    )
    found = model(batch)
    assert len(found.unique()) == found.numel() > 10
    assert torch.equal(model.first.weight, backbone)
    assert torch.equal(model.scores.bias, bias)


def test_layers_before_a_batch_norm_need_no_strength():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 2, 1))
    assert unnormalized(model.eval(), (torch.randn(2, 3, 4, 4),)) == [model[3], model[4]]
    assert len(unnormalized(model.eval(), (torch.randn(0, 3, 4, 4),))) == 3  # it made up for nothing


def test_outputs_that_say_something_are_left_alone(small_model, batches):
    model = copy.deepcopy(small_model)
    assert prepare_random_weights(model, Batches(batches).batches) == ()
    before = dict(small_model.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize("deviation", [1.0, 2.0])
def test_a_strengthened_layer_deviates_as_said_once_however_often_it_runs(deviation):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.ReLU(), nn.Linear(6, 50))
    model.append(nn.Linear(50, 6))
    with torch.no_grad():
        for layer in (model[0], model[2], model[3]):
            layer.weight.mul_(0.01)
        model[3].weight.mul_(1e4)  # loud already
    loud, x = model[3].weight.clone(), torch.randn(200, 6)
    assert strengthen(model, (x,), unnormalized(model, (x,)), deviation) == ["0", "2"]
    assert model[0](x).std().item() == pytest.approx(deviation, rel=1e-4)
    assert (model[:3](x) - model[2].bias).std().item() == pytest.approx(deviation, rel=1e-4)
    assert torch.equal(model[3].weight, loud)
