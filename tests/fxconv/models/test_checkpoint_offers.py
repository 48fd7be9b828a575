"""What would fit where the state_dict that was taken does not."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import squeezenet1_1

from fxconv.models.checkpoint_offers import offers, prefixes

OWN = {"conv.weight": torch.ones(2), "conv.bias": torch.ones(2), "norm.num_batches_tracked": torch.ones(1)}
OTHER = {"x": torch.ones(1)}


def under(prefix):
    return {prefix + key: value for key, value in OWN.items()}


def test_prefixes_under_which_all_names_stand():
    assert prefixes(under("net."), OWN) == ["net."]
    assert prefixes({**under("ema.net."), **under("net."), "loss.weight": 1}, OWN) == ["net.", "ema.net."]
    assert prefixes({"net.conv.weight": 1}, OWN) == []
    assert prefixes(OWN, OWN) == []
    assert prefixes(OWN, {}) == []


@pytest.mark.parametrize(
    ("parts", "taken", "words"),
    [
        ({"model": OTHER, "ema": OWN}, "model", "; ema in the file fits: --weights-key ema"),
        ({"": {**under("net."), **OTHER}}, "", "; its names under net. fit: --weights-prefix net."),
        (
            {"model": OTHER, "ema": under("net.")},
            "model",
            "; its names under net. fit: --weights-key ema --weights-prefix net.",
        ),
        ({"model": OTHER, "ema": OTHER}, "model", "; there is ema in the file, too (--weights-key)"),
        ({"": OTHER}, "", ""),
        (
            {"": {"weight": torch.ones(2), "bias": torch.ones(2)}},
            "",
            "; it has the names of conv in the model alone: name what makes that part",
        ),
    ],
)
def test_the_offer(parts, taken, words):
    assert offers(parts, taken, OWN, "net.py:Net", lambda state: state.keys() == OWN.keys()) == words


def test_weights_of_a_published_model_are_known():
    state = squeezenet1_1(num_classes=10).state_dict()
    words = offers({"": state}, "", OWN, "resnet18", lambda state: False)
    assert words == "; by its names it is squeezenet1_1's: name that model"
    assert offers({"": state}, "", OWN, "squeezenet1_1", lambda state: False) == ""
