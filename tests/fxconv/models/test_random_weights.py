"""Random weights whose outputs say nothing are drawn or scaled until they do; all others are left alone."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor, nn

from fxconv.data.calibration import Batches
from fxconv.models import loading
from fxconv.models.batch_norms import reestimate_batch_norms
from fxconv.models.random_weights import (
    lift_parameters,
    prepare_random_weights,
    redraw_silent,
    strengthen,
    unnormalized,
)


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
        "with random weights an output was empty, so layers of faint output were scaled to a deviation of 1: scores",
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


def drawn(net: nn.Module, deviation: float, bias: float = 0.0) -> nn.Module:
    """The net with every matrix and filter drawn anew, as configurations of an `initializer_range` near 0 draw them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in net.named_parameters():
            if values.ndim > 1:
                values.normal_(0, deviation, generator=generator)
            elif name.endswith("bias"):
                values.normal_(0, bias, generator=generator)
    return net.eval()


class Attention(nn.Module):
    """What attention multiplies by is no layer's weight, and its last layer is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.place = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.zeros(4, 8))
        self.attention, self.scale = nn.MultiheadAttention(8, 2, batch_first=True), nn.Parameter(torch.rand(8) * 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patch(x).flatten(2).transpose(1, 2) + self.place
        return self.scale * self.attention(y, y, y)[0]


class Faint(nn.Module):
    """A faint output beside one that says something."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.boxes, self.scores = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1)
        for layer, deviation in ((self.body, 0.5), (self.boxes, 0.05), (self.scores, 1e-9)):
            nn.init.normal_(layer.weight, std=deviation, generator=torch.Generator().manual_seed(0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(x).relu()
        return self.boxes(y), self.scores(y)


def layers(*norms: type[nn.Module]) -> nn.Module:
    parts: list[nn.Module] = []
    for before, after in ((3, 8), (8, 8), (8, 8)):
        parts += [nn.Conv2d(before, after, 3, padding=1), *(norm(after) for norm in norms), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (drawn(layers(), 1e-6), "0, 2, 4 and 1 more"),
        (drawn(layers(), 3e-3, bias=1.0), "0, 2, 4 and 1 more"),  # its outputs are the biases
        (drawn(layers(nn.BatchNorm2d), 1e-8), "0, 3, 6 and 1 more"),  # the eps of batch norms is louder
        (drawn(Attention(), 1e-6), "place, scale, attention.in_proj_weight and 2 more"),
        (Faint(), "boxes, scores"),
    ],
    ids=["faint layers", "beside biases", "beside batch norms", "attention", "one of two outputs"],
)
def test_outputs_that_vanish_are_lifted_in_layers_throughout(model, told):
    data = Batches(torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    biases = [value.clone() for name, value in model.named_parameters() if name.endswith("bias")]
    (note,) = prepare_random_weights(model, data.batches, 8)
    assert re.fullmatch(
        rf"with random weights an output (varied by no more than \de-\d+|was its biases alone), so layers of faint "
        rf"output were scaled to a deviation of 1: {told}",
        note,
    )
    returned = model(next(data.batches())[0])
    for output in returned if isinstance(returned, tuple) else [returned]:
        assert (output - output.mean(0)).std() > 0.05
    assert all(map(torch.equal, biases, (v for name, v in model.named_parameters() if name.endswith("bias"))))
    assert prepare_random_weights(model, data.batches, 8) == ()


class Constant(nn.Module):
    """Anchors that no image changes, beside scores."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.scores(x)
        return scores, torch.arange(4.0, device=scores.device).expand(len(x), 4)


def test_an_output_that_is_constant_by_nature_is_no_reason():
    assert prepare_random_weights(Constant().eval(), Batches(torch.randn(8, 3, 8, 8)).batches, 8) == ()


class Index(nn.Module):
    """What it returns is no number that could be faint."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)[:, :, 0, 0].argmax(1)


def test_a_network_of_which_no_output_varies_is_lifted_too():
    data = Batches(torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    by_underflow = drawn(layers(nn.BatchNorm2d), 1e-30)
    (note,) = prepare_random_weights(by_underflow, data.batches, 8)
    assert "with random weights no output varied, so layers of faint output were scaled" in note
    assert by_underflow(next(data.batches())[0]).std(0).min() > 0.1
    index = drawn(Index(), 1e-6, bias=1.0)
    (note,) = prepare_random_weights(index, data.batches, 8)
    assert "no output varied" in note and len(index(next(data.batches())[0]).unique()) > 1


def test_whole_numbers_that_vary_are_left_alone():
    data = Batches(torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert prepare_random_weights(drawn(Index(), 0.3), data.batches, 8) == ()


def test_only_parameters_far_below_what_initializations_give_are_lifted():
    model = Attention()
    ordinary = {name: value.clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        model.attention.out_proj.weight.mul_(1e-3)
    assert lift_parameters(model, [model.patch]) == ["scale", "attention.out_proj.weight"]
    assert model.scale.max() == 1
    assert model.attention.out_proj.weight.std().item() == pytest.approx(8**-0.5)
    for name in ("place", "patch.weight", "attention.in_proj_weight", "attention.out_proj.bias"):
        assert torch.equal(dict(model.named_parameters())[name], ordinary[name])


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "detector:mobilenet_v3_small"])
def test_ordinary_initializations_keep_their_weights(name):
    model = loading.load(name, "random").module
    other, data = copy.deepcopy(model), Batches(torch.rand(4, 3, 64, 64))
    assert prepare_random_weights(model, data.batches, 4) == ()
    reestimate_batch_norms(other, data.batches(4))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())
