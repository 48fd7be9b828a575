"""Images with the statistics of natural ones, for when there are no photographs.

Half are 1/f noise (Field 1987: the amplitude spectra of natural images fall off with frequency),
half are dead leaves (Lee, Mumford, Huang 2001: occluding discs whose sizes follow a power law),
which have the edges and flat regions that noise lacks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pixels = npt.NDArray[np.uint8]

# Luminance varies most, the two opponent colours less (Ruderman, Cronin, Chiao 1998).
_OPPONENT_TO_RGB = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [0.5, -1.0, 0.5]])
_OPPONENT_SPREAD = np.array([0.22, 0.07, 0.04])
_DISCS = 300


def natural_images(count: int, height: int, width: int, channels: int = 3, seed: int = 0) -> Iterator[Pixels]:
    """`count` images `[height, width, channels]`, uint8 in [0, 255]; the same seed gives the same images."""
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        image = _spectral(rng, height, width) if index % 2 == 0 else _dead_leaves(rng, height, width)
        if channels == 3:
            yield image
        else:
            grey = image.mean(axis=2, keepdims=True).astype(np.uint8)
            yield np.repeat(grey, channels, axis=2)


def _spectral(rng: np.random.Generator, height: int, width: int) -> Pixels:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None, :] * width)
    frequency[0, 0] = np.inf  # no mean here; the exposure is drawn below
    amplitude = frequency ** -rng.uniform(0.9, 1.4)
    planes = []
    for spread in _OPPONENT_SPREAD:
        phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
        plane = np.fft.irfft2(amplitude * phase, s=(height, width))
        planes.append(spread * plane / (plane.std() + 1e-12))
    contrast, exposure = rng.uniform(0.5, 1.5), rng.uniform(0.25, 0.65)
    rgb = exposure + contrast * np.stack(planes, axis=2) @ _OPPONENT_TO_RGB
    return (np.clip(rgb, 0.0, 1.0) * 255).astype(np.uint8)


def _dead_leaves(rng: np.random.Generator, height: int, width: int) -> Pixels:
    palette = _spectral(rng, 16, 16).reshape(-1, 3)
    image = Image.fromarray(_spectral(rng, height, width))
    draw = ImageDraw.Draw(image)
    smallest, largest = 2.0, max(4.0, min(height, width) / 3)
    # Radii with density r^-3: the scaling that makes the pattern look the same at every distance.
    share = rng.random(_DISCS)
    radii = (smallest**-2 - share * (smallest**-2 - largest**-2)) ** -0.5
    for radius, y, x in zip(radii, rng.uniform(0, height, _DISCS), rng.uniform(0, width, _DISCS), strict=True):
        colour = tuple(int(c) for c in palette[rng.integers(len(palette))])
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(image, dtype=np.uint8)
