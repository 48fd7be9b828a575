"""Photographs to input tensors, the way the weights were trained to see them."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from fxconv.models.image_pixels import decoded

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# An image more oblong than this, beside the input, is cropped before it is resized: resizing it could need gigabytes.
_MOST_OBLONG = 16
# Frames of a clip where nothing else is said: the fewest that torchvision's video networks were trained on.
FRAMES = 16
# Where the photograph moves to from one frame or image to the next, in turn: both ways along both diagonals.
_DIRECTIONS = ((1, 1), (-1, 1), (-1, -1), (1, -1))


class Origin(str, Enum):
    """Who says how pixels become tensors, by the word that reports have for it."""

    weights = "the weights' own transforms"
    package = "the package's configuration"
    user = "as asked for"
    assumed = "assumed"


@dataclass(frozen=True)
class Preprocessing:
    """Resize to cover `resize` times the input, crop the centre, scale to [0, 1], normalize.

    `height` and `width` are the network's input in pixels; `mean` and `std` are for values in [0, 1], one a channel,
    or, where `scale` is 1 and not 1/255, for values from 0 to 255.
    `resize` is the ratio between the resized image and the crop (torchvision's 256 to 224 is 1.143); with `stretched`
    the image is resized to exactly that height and width, whatever its own ratio, before the centre is cropped.
    `source` says in words where this is from, `origin` who says it.

    A network may take clips of `frames` frames, or several `images` at once. Photographs do not move, so the crop does:
    from one corner of the resized photograph to the opposite one, past the centre.
    """

    height: int = 224
    width: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: float = 256 / 224
    interpolation: InterpolationMode = InterpolationMode.BILINEAR
    source: str = "ImageNet mean and deviation"
    frames: int | None = None
    images: int = 1
    origin: Origin = Origin.assumed
    scale: float = 1 / 255
    stretched: tuple[int, int] | None = None

    @property
    def channels(self) -> int:
        """Number of input channels."""
        return len(self.mean)

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, frames of a clip, height, width."""
        frames = () if self.frames is None else (self.frames,)
        return self.channels, *frames, self.height, self.width

    @property
    def is_still(self) -> bool:
        """Whether the network sees one moment of a scene: neither clips nor several images."""
        return self.frames is None and self.images == 1

    @classmethod
    def in_unit_range(cls) -> Preprocessing:
        """Values from 0 to 1, for a network that normalizes them itself."""
        return cls(mean=(0.0,) * 3, std=(1.0,) * 3, source="values from 0 to 1")

    def assumed(self) -> Preprocessing:
        """The same, of weights that nobody says it of."""
        return replace(self, origin=Origin.assumed)

    @property
    def is_known(self) -> bool:
        """Whether somebody says that it is so, and it is not assumed."""
        return self.origin is not Origin.assumed

    @property
    def in_words(self) -> str:
        """What is done with a photograph, in one line."""
        (tall, wide), crop = self.covered, f"{self.height}x{self.width}"
        if self.stretched is not None:
            fitted = f"resized to {tall}x{wide}" + (f", cropped to {crop}" if self.stretched != self.size else "")
        else:
            fitted = f"resized to cover {tall}x{wide}, cropped to {crop}"
        return f"{fitted}, {self.interpolation.value}, {self._values}"

    @property
    def _values(self) -> str:
        """What becomes of the numbers, in words."""
        scaled = "from 0 to 1" if self.scale != 1 else "from 0 to 255"
        if not any(self.mean) and all(value == 1 for value in self.std):
            return scaled
        means, deviations = (_short(values) for values in (self.mean, self.std))
        return f"{scaled}, less {means}, over {deviations}"

    @property
    def unit_scaled(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation for values that were scaled to [0, 1], whatever `scale` is."""
        by = 1 / 255 if self.scale == 1 else 1.0
        return tuple(value * by for value in self.mean), tuple(value * by for value in self.std)

    @property
    def says_values(self) -> bool:
        """Whether mean and deviation say what becomes of the numbers, as those of a function do not."""
        return True

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.height, self.width

    @classmethod
    def from_preset(cls, preset: Any, source: str) -> Preprocessing:
        """From the transforms torchvision ships with a set of weights; where they have no size, 224x224.

        Transforms that do not say how they normalize are asked for black and white. Those that resize and do not crop,
        for segmentation, give a square of that size.
        """
        if not callable(preset):
            return cls()
        normalized = hasattr(preset, "mean")
        mean, std = (tuple(preset.mean), tuple(preset.std)) if normalized else _measured(preset)
        resized = (getattr(preset, "resize_size", None) or [None])[0]
        height, width = (crop * 2)[:2] if (crop := list(getattr(preset, "crop_size", []))) else [resized or 224] * 2
        ratio = (resized or height) / height if crop else 1.0 if resized else cls.resize
        interpolation = getattr(preset, "interpolation", InterpolationMode.BILINEAR)
        said = f"transforms of {source}"
        return cls(height, width, mean, std, ratio, interpolation, said, origin=Origin.weights)

    def resized(self, channels: int | None, height: int, width: int, frames: int | None = None) -> Preprocessing:
        """The same preprocessing for another input size; other channel counts take the mean over the channels."""
        sized = replace(self, height=height, width=width, frames=self.frames if frames is None else frames)
        if self.stretched is not None:
            tall, wide = self.stretched
            both = round(tall * height / self.height), round(wide * width / self.width)
            sized = replace(sized, stretched=both)
        if channels is None or channels == self.channels:
            return sized
        mean, std = sum(self.mean) / self.channels, sum(self.std) / self.channels
        return replace(sized, mean=(mean,) * channels, std=(std,) * channels)

    @property
    def mode(self) -> Literal["L", "RGB"]:
        """The kind of pixels the network sees, in pillow's word."""
        return "L" if self.channels == 1 else "RGB"

    @property
    def covered(self) -> tuple[int, int]:
        """Height and width in pixels that a photograph is resized to cover, or to, before it is cropped."""
        if self.stretched is not None:
            return self.stretched
        return round(self.height * self.resize), round(self.width * self.resize)

    @property
    def least_side(self) -> int:
        """Pixels that no side of a large photograph needs to have more of when it is decoded."""
        return 2 * max(self.covered)

    def photograph(self, image: Image.Image) -> Tensor:
        """One photograph as a float32 tensor `[C, H, W]`; its EXIF orientation is applied."""
        return self.fitted(decoded(image, self.mode))

    def fitted(self, image: Image.Image) -> Tensor:
        """Pixels of `mode`, upright, of any size, as a float32 tensor `[C, H, W]`."""
        cropped = F.center_crop(self._covering(image), [self.height, self.width])
        return self.normalized(F.pil_to_tensor(cropped))

    def inputs(self, image: Image.Image, index: int) -> tuple[Tensor, ...]:
        """All that one call of the network takes, without N, from pixels of `mode`; `index` says where they move to."""
        if self.is_still:
            return (self.fitted(image),)
        return self.moving(F.pil_to_tensor(self._covering(image)), index)

    def moving(self, pixels: Tensor, index: int) -> tuple[Tensor, ...]:
        """The same from uint8 `[C, H, W]` that cover the input.

        The crop moves by the margin around the input, where there is one: all else of an oblong photograph lies too
        far off to be one scene with it.
        """
        steps = (self.frames or 1) * self.images
        margins = [covered - size for covered, size in zip(self.covered, (self.height, self.width), strict=True)]
        room = [pixels.shape[1] - self.height, pixels.shape[2] - self.width]
        down, right = _DIRECTIONS[index % len(_DIRECTIONS)]
        views = []
        for step in range(steps):
            place = step / (steps - 1) - 0.5 if steps > 1 else 0.0  # from -0.5 to 0.5
            top, left = (
                min(space, max(0, round(space / 2 + way * place * margin)))
                for way, space, margin in zip((down, right), room, margins, strict=True)
            )
            views.append(self.normalized(pixels[:, top : top + self.height, left : left + self.width]))
        if self.frames is None:
            return tuple(views)
        return tuple(torch.stack(views[start : start + self.frames], dim=1) for start in range(0, steps, self.frames))

    def _covering(self, image: Image.Image) -> Image.Image:
        """The image resized to cover the input and its margin."""
        whole, box = (0, 0, image.width, image.height), self.middle(image.height, image.width)
        image = image.crop(box) if box != whole else image
        size = self.resized_to(image.height, image.width)
        return F.resize(image, list(size), self.interpolation, antialias=True)

    def resized_to(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a `middle` of these becomes before the centre is cropped."""
        if self.stretched is not None:
            return self.stretched
        tall, wide = self.covered
        # As torchvision does it: the side that needs the larger enlargement decides, the other keeps the ratio.
        if tall / height >= wide / width:
            return tall, int(tall * width / height)
        return int(wide * height / width), wide

    def middle(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what is used of an upright image: of one far more oblong than the input less.

        Of any other all of it.
        """
        left = top = 0
        if self.stretched is None:
            widest = math.ceil(_MOST_OBLONG * height * max(1.0, self.width / self.height))
            tallest = math.ceil(_MOST_OBLONG * width * max(1.0, self.height / self.width))
            # An even number of pixels goes, or the centre would move by half of one.
            left, top = max(0, width - widest) // 2, max(0, height - tallest) // 2
        return left, top, width - left, height - top

    def pixels(self, array: npt.NDArray[np.uint8]) -> Tensor:
        """One uint8 array `[H, W, C]` of any size as a float32 tensor `[C, H, W]`; resized only if it must be."""
        if array.shape[:2] != (self.height, self.width):
            return self.photograph(Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array))
        return self.normalized(torch.from_numpy(np.array(array)).permute(2, 0, 1))  # a copy: it may be read-only

    def normalized(self, pixels: Tensor) -> Tensor:
        """uint8 `[C, H, W]` to float32, scaled and normalized."""
        scaled = pixels.to(torch.float32) if self.scale == 1 else F.convert_image_dtype(pixels, torch.float32)
        return F.normalize(scaled, list(self.mean), list(self.std))


def _short(values: tuple[float, ...]) -> str:
    """Numbers of the channels, one where all are the same."""
    each = values[:1] if len(set(values)) == 1 else values
    return ", ".join(f"{value:.4g}" for value in each)


def _measured(preset: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of transforms that do not name them: what they make of black is -mean / std."""
    images = len(inspect.signature(getattr(preset, "forward", preset)).parameters)
    both = [torch.full((3, 8, 8), value, dtype=torch.uint8) for value in (0, 255)]
    black, white = (tree_leaves(preset(*[image] * images))[0].double()[:, 0, 0] for image in both)
    std = 1 / (white - black)
    return tuple((0.0 - black * std).tolist()), tuple(std.tolist())
