"""What the models are converted with, and what they are judged on: nothing of the one is in the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SIDE = 32
BRIGHTEST = 3.0


def smooth(count: int, seed: int, height: int = SIDE, width: int = SIDE) -> Tensor:
    """Images `[N, 3, H, W]` of mean 0, no value above 3, coarse structure and a little noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, max(2, height // 8), max(2, width // 8), generator=generator)
    fine = torch.randn(count, 3, height, width, generator=generator) * 0.15
    found = interpolate(coarse, (height, width), mode="bilinear", align_corners=False) + fine
    return (found - found.mean((1, 2, 3), keepdim=True)).clamp(-BRIGHTEST, BRIGHTEST)


def _bright_pixel() -> list[Tensor]:
    ordinary, bright = smooth(1, 50), smooth(1, 51)
    bright[:, :, 0, 0] = 3.5
    return [ordinary, bright]


def _quiet_beside_loud() -> list[Tensor]:
    factors = torch.tensor([1.0, 0.25, 0.5]).view(3, 1, 1, 1)
    return [smooth(1, 56), smooth(3, 57) * factors, smooth(2, 58)]


CALIBRATION: dict[str, Callable[[], list[Tensor]]] = {
    "still": lambda: list(smooth(8, 1).split(1)),
    "one": lambda: list(smooth(1, 1).split(1)),
    "batches of 4": lambda: list(smooth(8, 1).split(4)),
}
PROBES: dict[str, Callable[[], list[Tensor]]] = {
    "others": lambda: list(smooth(20, 52).split(1)),
    "others and batches": lambda: [smooth(1, 52), smooth(3, 53)],
    "a bright pixel": _bright_pixel,
    "a brighter image": lambda: [smooth(1, 54), smooth(1, 55) + 0.6],
    "sizes": lambda: [smooth(1, 59), smooth(1, 60, 48, 48), smooth(1, 61, 40, 40)],
    "a batch": lambda: [smooth(1, 62), smooth(3, 63)],
    "sizes and batches": lambda: [smooth(1, 64), smooth(3, 65), smooth(1, 66, 48, 48), smooth(2, 67, 40, 48)],
    "one after the other": lambda: list(smooth(3, 68).split(1)),
    "quiet beside loud": _quiet_beside_loud,
}
