"""A small classifier of which one layer is known to be worse in int8 than all others."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

# The layer with two huge weights that cancel, and the one with a channel far louder than the others.
HUGE, LOUD = "second.conv", "second.conv"
Fault = Literal["none", "weight", "activation"]


class Classifier(nn.Module):
    """Four convolutions and a head; each is followed by a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.fourth = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU())
        self.pool, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.fourth(self.third(self.second(self.first(x))))).flatten(1))


def outliers(fault: Fault = "none") -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """The classifier in eval mode, 32 images to calibrate with and 100 others, `[N, 3, 12, 12]`.

    weight: the first layer's channels 0 and 1 are the same, and the second layer adds one and subtracts the other, both
    1000 times: nothing in float, but a scale for the whole layer that leaves its other weights few steps.
    activation: a channel of the second layer is 3000 times as loud, and the third layer reads it 3000 times as softly.
    """
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(7)
    model = Classifier().eval()
    with torch.no_grad():
        first, second, third = model.first[0], model.second[0], model.third[0]
        for layer in (first, second, third, model.fourth[0]):
            layer.weight.mul_(2)
        if fault == "weight":
            first.weight[1], first.bias[1] = first.weight[0], first.bias[0]
            second.weight[0, 0, 1, 1] += 1000
            second.weight[0, 1, 1, 1] -= 1000
        elif fault == "activation":
            second.weight[2] *= 3000
            second.bias[2] *= 3000
            third.weight[:, 2] /= 3000
    images = torch.randn(132, 3, 12, 12, generator=generator)
    with torch.no_grad():
        scores = model(images)
        model.head.bias -= scores.mean(0)  # or one class would win on all images
    return model, (images[:32], images[32:])


def no_outlier() -> nn.Module:
    return outliers("none")[0]


def weight_outlier() -> nn.Module:
    return outliers("weight")[0]


def hopeless() -> nn.Module:
    """A single layer, which must be int8 or nothing is; all scores but one are far less than a step of its range."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 4)).eval()
    with torch.no_grad():
        model[1].weight[0] *= 3000
    return model
