"""What the tests of training share: images, a network that rounding harms, and its training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import fxconv
from fxconv.config import Mode, Recipe, WeightScheme
from fxconv.conversion import Conversion

TRAINED = ["rewritten", "fused", "trained", "int8", "scripted", "optimized", "reloaded"]
NONE = (Recipe.none,)


def images(count: int = 32, seed: int = 0, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def same_weights(a: Conversion, b: Conversion) -> bool:
    """Whether two trainings ended at the same weights, bit for bit."""
    ours, theirs = (done.recipe.changes[-1].weights for done in (a, b))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[path], theirs[path]) for path in ours)


class Uneven(nn.Module):
    """Channels of very different sizes: one scale for all weights of a layer leaves most of them with few steps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.second.weight.mul_(torch.logspace(-2.5, 0, 16)[:, None, None, None])
            self.head.weight.div_(torch.logspace(-2.5, 0, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(torch.relu(self.first(x)))
        return self.head(torch.relu(x).mean((2, 3)))


def distilled(**options: Any) -> Conversion:
    torch.manual_seed(0)
    given: dict[str, Any] = {"mode": Mode.qat, "recipe": NONE, "epochs": 6, "learning_rate": 2e-3} | options
    return fxconv.convert(Uneven().eval(), [images(64, size=16)], weight_scheme=WeightScheme.per_tensor, **given)


class Returning(nn.Module):
    """Gives something that cannot be learnt from, beside a layer."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Conv2d(3, 4, 3), kind
        self.register_buffer("anchors", torch.rand(7, 4))

    def forward(self, x: Tensor) -> Any:
        y = self.layer(x)
        if self.kind == "integers":
            return y.argmax(1)
        if self.kind == "a number":
            return y.mean()
        if self.kind == "anchors":
            return y, self.anchors
        return torch.cat([y[index : index + 1] * (index + 1) for index in range(x.shape[0])])
