"""Which of torchvision's models weights are of."""

from __future__ import annotations

import pytest
from torchvision.models import get_model

from fxconv.models.published_names import published_names


def shapes(name, prefix="", **options):
    return {
        prefix + key: tuple(value.shape) for key, value in get_model(name, weights=None, **options).state_dict().items()
    }


@pytest.mark.parametrize(
    ("held", "names"),
    [
        (shapes("mobilenet_v3_small"), ["mobilenet_v3_small"]),
        (shapes("mobilenet_v3_small", num_classes=2), ["mobilenet_v3_small"]),
        (shapes("resnet18", "module."), ["resnet18"]),
        (shapes("squeezenet1_1"), ["squeezenet1_1"]),
        ({**shapes("squeezenet1_1"), "extra": (3,)}, ["squeezenet1_1"]),
        ({key: shape for key, shape in shapes("squeezenet1_1").items() if "bias" in key}, []),
        ({"weight": (3, 4)}, []),
        ({}, []),
    ],
)
def test_the_names(held, names):
    assert published_names(held) == names


def test_beside_an_optimizer():
    weights = shapes("squeezenet1_1", "model.")
    moments = {f"optimizer.{place}.{key}": shape for place in (0, 1) for key, shape in weights.items()}
    assert published_names({**weights, **moments}) == []
    assert published_names({**weights, **moments}, is_whole=False) == ["squeezenet1_1"]
