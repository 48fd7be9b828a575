"""A network of two heads, class scores and landmarks, each behind a layer that one scale for all weights ruins."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# What the class scores need in float, and what the landmarks need.
OF_SCORES, OF_POINTS = "scores.conv", "points.conv"
# How a command names it, and how it writes a report.
NETWORK = (
    *(f"{Path(__file__).resolve()}:network", "--input-size", "3x12x12"),
    *("--recipe", "none", "--weight-scheme", "per-tensor", "--json", "report.json"),
)
_METRICS = """
from fxconv_heads import landmarks

def accuracy(model, batches):
    right = [model(images)[0].argmax(1) == classes for images, classes in batches]
    return sum(each.sum() for each in right) / sum(map(len, right))

def without_targets(model, batches):
    return sum(model(images)[0].softmax(1).max(1).values.mean() + (target is None) for images, target in batches)
"""


class TwoHeads(nn.Module):
    """Images `[N, 3, 12, 12]` to class scores `[N, 4]` and three landmarks `[N, 3, 2]`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.scores, self.points = self._branch(), self._branch()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.classes, self.landmarks = nn.Linear(32, 4), nn.Linear(32, 6)

    @staticmethod
    def _branch() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        scores = self.classes(self.pool(self.scores(x)).flatten(1))
        points = self.landmarks(self.pool(self.points(x)).flatten(1))
        return scores, points.reshape(-1, 3, 2)


def two_heads() -> tuple[nn.Module, Tensor, Tensor]:
    """The network in eval mode, 72 images, and their true landmarks, from which float's differ a little.

    Two channels of the stem are the same, and each branch adds one and subtracts the other, both 100 times.
    """
    torch.manual_seed(3)
    model = TwoHeads().eval()
    images = torch.randn(72, 3, 12, 12)
    with torch.no_grad():
        stem = model.stem[0]
        stem.weight[1], stem.bias[1] = stem.weight[0], stem.bias[0]
        for branch in (model.scores, model.points):
            branch[0].weight[0, 0, 1, 1] += 100
            branch[0].weight[0, 1, 1, 1] -= 100
        scores, points = model(images)
        model.classes.bias -= scores.mean(0)  # or one class would win on all images
        truth = points + 0.01 * torch.randn(points.shape)
    return model, images, truth


def network() -> nn.Module:
    return two_heads()[0]


def landmarks(model: Any, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Minus the mean distance between the landmarks that were found and those that are true."""
    distances = [(model(images)[1] - truth).norm(dim=-1).flatten() for images, truth in batches]
    return -torch.cat(distances).mean()


def write_files(folder: Path) -> None:
    """Metrics in error.py, and images with their landmarks in faces.npz."""
    _, images, truth = two_heads()
    np.savez(folder / "faces.npz", images=images.numpy(), targets=truth.numpy())
    (folder / "error.py").write_text(_METRICS)
