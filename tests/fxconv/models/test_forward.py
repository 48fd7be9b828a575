"""The tensors in whatever a model returns; running a model leaves nothing on it, wherever fxconv runs it."""

from __future__ import annotations

import types
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxconv
from fxconv.models import forward, preconditions
from fxconv.models.random_weights import prepare_random_weights
from fxconv.targets.wrapping.heatmaps import heatmaps


class HookingItself(nn.Module):
    """Hooks its layers at its first forward, to collect what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)])
        self.seen: list[Tensor] = []
        self.is_ready = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_ready:
            for layer in self.layers:
                layer.register_forward_hook(lambda module, args, output: self.seen.append(output))
            self.is_ready = True
        self.seen.clear()
        for layer in self.layers:
            x = layer(x)
        return self.seen[-1] + self.seen[0].mean()


def untouched(model: HookingItself) -> bool:
    return not model.is_ready and not model.seen and not any(part._forward_hooks for part in model.modules())


def test_outputs_leave_nothing_behind():
    torch.manual_seed(0)
    model, image = HookingItself().eval(), (torch.randn(2, 3, 8, 8),)
    first, again = forward.outputs(model, [image, image]), forward.outputs(model, [image])
    assert untouched(model)
    assert torch.equal(first[0][0], again[0][0]) and torch.equal(first[1][0], again[0][0])


def test_a_forward_that_was_put_on_a_module_of_torchs():
    model = nn.Sequential(nn.ReLU())

    def noting(self: Any, x: Tensor) -> Tensor:
        self.last = x
        return self[0](x)

    model.forward = types.MethodType(noting, model)
    (found,) = forward.outputs(model, [(-torch.ones(2),)])
    assert found[0].tolist() == [0, 0] and not hasattr(model, "last")


def test_what_only_torchs_modules_keep_stays():
    model = nn.BatchNorm2d(3)
    forward.outputs(model, [(torch.randn(2, 3, 4, 4),)])
    assert model.num_batches_tracked == 1 and model.running_mean.abs().sum() > 0


def test_preparing_random_weights_leaves_no_hooks_to_be_refused():
    torch.manual_seed(0)
    model = HookingItself().eval()
    nn.init.zeros_(model.layers[2].weight)
    prepare_random_weights(model, lambda count: iter([(torch.randn(4, 3, 8, 8),)]), 4)
    assert untouched(model) and model.layers[1].running_mean.abs().sum() > 0
    assert preconditions.own_copy(model) is not model


class AssigningNorm(nn.BatchNorm2d):
    """Keeps its statistics in new tensors."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.running_mean = x.mean((0, 2, 3))
        return (x - self.running_mean.view(1, -1, 1, 1)) * self.weight.view(1, -1, 1, 1)


def test_statistics_that_a_norm_of_the_users_writes_anew_are_kept():
    torch.manual_seed(0)
    model, image = nn.Sequential(AssigningNorm(3)).eval(), torch.randn(4, 3, 8, 8)
    prepare_random_weights(model, lambda count: iter([(image,)]), 4)
    assert torch.equal(model[0].running_mean, image.mean((0, 2, 3)))


def test_looking_for_heatmaps_leaves_nothing_behind():
    model = HookingItself().eval()
    assert heatmaps(model, (torch.randn(1, 3, 8, 8),)).stride == 2
    assert untouched(model)


def test_the_users_model_stays_as_it_is():
    torch.manual_seed(0)

    class Noting(HookingItself):
        def forward(self, x: Tensor) -> Tensor:
            self.seen.append(x)
            self.is_ready = True
            return self.layers[0](x)

    model = Noting().eval()
    assert fxconv.convert(model, [torch.randn(4, 3, 16, 16)], recipe=("none",)).verified
    assert untouched(model)


class Output(OrderedDict):
    """A subclass that nobody told torch of."""


@dataclass
class Found:
    """Nor of this one."""

    boxes: Tensor
    scores: object = None


Pair = namedtuple("Pair", ["a", "b"])
ONE, TWO = torch.ones(1), torch.zeros(2)


@pytest.mark.parametrize(
    "value",
    [
        (ONE, TWO), {"a": ONE, "b": [TWO]}, Output(a=ONE, b=TWO), Found(ONE, TWO), Found(ONE, Output(b=(TWO,))),
        Pair(ONE, Found(TWO)), [Output(a=Found(ONE)), None, TWO],
    ],
)  # fmt: skip
def test_tensors_in_order(value):
    first, second = forward.tensors(value)
    assert first is ONE and second is TWO
    assert forward.outputs(lambda: value, [()])[0][1].shape == (2,)


@pytest.mark.parametrize(
    ("number", "dtype"), [(3, torch.int64), (0.5, torch.float32), (True, torch.bool), (-1, torch.int64)]
)
def test_a_number_is_a_tensor_of_no_dims(number, dtype):
    (found, last) = forward.tensors({"stride": number, "out": [None, ONE]})
    assert (found.dtype, found.shape, found.item()) == (dtype, (), number)
    assert last is ONE


def test_leaves_by_their_keys_and_places():
    value = {"main": ONE, "aux": None, "deep": [TWO, Pair(ONE, Found(TWO))], "size": torch.Size([2, 3])}
    assert forward.named_leaves(value) == [
        ("main", ONE), ("aux", None), ("deep.0", TWO), ("deep.1.a", ONE), ("deep.1.b.boxes", TWO),
        ("deep.1.b.scores", None), ("size.0", 2), ("size.1", 3),
    ]  # fmt: skip
    assert forward.named_leaves(ONE) == [("", ONE)]
    assert forward.named_leaves([]) == []


def test_leaves_that_are_no_tensors_are_told():
    assert forward.leaves(Found(ONE, {"a": 3})) == [ONE, 3]
    assert forward.leaves((None, "word", Found)) == [None, "word", Found]
