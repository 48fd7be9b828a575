"""Generated scenes: shapes pasted on images with the statistics of natural ones, and where their centres are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from fxconv.data.synthetic import Pixels, natural_images

# Corners of a shape on the unit circle; an ellipse has none.
_CORNERS = (0, 3, 4, 5, 6)
_MOST_OBJECTS = 6


@dataclass(frozen=True)
class Scene:
    """Pixels `[H, W, 3]`, and the centre (x, y) and radius in pixels of every object."""

    pixels: Pixels
    objects: tuple[tuple[float, float, float], ...]


def scenes(count: int, height: int, width: int, seed: int = 0) -> Iterator[Scene]:
    """`count` scenes of one to six objects of 5 to 24 pixels radius that do not overlap; the same for a seed."""
    for index, pixels in enumerate(natural_images(count, height, width, seed=seed)):
        rng = np.random.default_rng([seed, index, 1])
        image = Image.fromarray(pixels)
        found: list[tuple[float, float, float]] = []
        for _ in range(rng.integers(1, _MOST_OBJECTS + 1)):
            radius = rng.uniform(5, min(24.0, min(height, width) / 5))
            x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
            if any(np.hypot(x - a, y - b) < 1.2 * (radius + c) for a, b, c in found):
                continue
            _paste(image, rng, x, y, radius)
            found.append((x, y, radius))
        yield Scene(np.asarray(image, dtype=np.uint8), tuple(found))


def _paste(image: Image.Image, rng: np.random.Generator, x: float, y: float, radius: float) -> None:
    """One shape, filled with a bright texture of its own colour, and a darker rim."""
    side = int(2 * radius) + 4
    colour = rng.integers(60, 256, 3) * rng.permutation([1.0, 0.9, 0.25])
    texture = next(natural_images(1, side, side, seed=int(rng.integers(1 << 30)))).astype(np.float64)
    filled = np.clip(colour * (0.7 + 0.6 * texture.mean(2, keepdims=True) / 255), 0, 255).astype(np.uint8)
    mask = Image.new("L", (side, side), 0)
    draw, corners, flat = ImageDraw.Draw(mask), int(rng.choice(_CORNERS)), rng.uniform(0.6, 1.0)
    turn = rng.uniform(0, 2 * np.pi)
    angles = turn + np.linspace(0, 2 * np.pi, corners or 24, endpoint=False)
    points = [(side / 2 + radius * np.cos(a), side / 2 + radius * flat * np.sin(a)) for a in angles]
    draw.polygon(points, fill=255)
    left, top = round(x - side / 2), round(y - side / 2)
    image.paste(Image.fromarray(filled), (left, top), mask)
    outline = [(left + a, top + b) for a, b in points]
    ImageDraw.Draw(image).line([*outline, outline[0]], fill=tuple((colour * 0.5).astype(int).tolist()), width=1)


def heatmap(objects: Sequence[tuple[float, float, float]], height: int, width: int, stride: int) -> Tensor:
    """The target `[1, H / stride, W / stride]`: 1 in each centre's cell, around it a Gaussian as wide as the object.

    Zhou et al. 2019, Objects as Points, 3: where two meet the greater value stays.
    """
    rows, columns = torch.arange(height // stride)[:, None], torch.arange(width // stride)[None]
    target = torch.zeros(height // stride, width // stride)
    for x, y, radius in objects:
        column, row = min(int(x / stride), width // stride - 1), min(int(y / stride), height // stride - 1)
        sigma = max(radius / stride / 3, 0.7)
        distance = (columns - column) ** 2 + (rows - row) ** 2
        target = torch.maximum(target, torch.exp(-distance / (2 * sigma**2)))
    return target[None]


def tensor(pixels: Pixels, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels as float32 `[3, H, W]`, normalized."""
    values: npt.NDArray[np.float32] = (pixels.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
