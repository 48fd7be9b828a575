"""Photographs to input tensors, the way the weights were trained to see them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from fxconv.photographs import decoded

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# An image more oblong than this, beside the input, is cropped before it is resized: resizing it could need gigabytes.
_MOST_OBLONG = 16


@dataclass(frozen=True)
class Preprocessing:
    """Resize to cover `resize` times the input, crop the centre, scale to [0, 1], normalize.

    `height` and `width` are the network's input in pixels; `mean` and `std` are for values in [0, 1], one a channel.
    `resize` is the ratio between the resized image and the crop (torchvision's 256 to 224 is 1.143).
    """

    height: int = 224
    width: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: float = 256 / 224
    interpolation: InterpolationMode = InterpolationMode.BILINEAR
    source: str = "ImageNet mean and deviation"

    @property
    def channels(self) -> int:
        """Number of input channels."""
        return len(self.mean)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    @classmethod
    def from_preset(cls, preset: Any, source: str) -> Preprocessing:
        """From the transforms torchvision ships with a set of weights; where it has no crop, 224x224."""
        if not hasattr(preset, "mean"):
            return cls()
        crop = preset.crop_size[0] if hasattr(preset, "crop_size") else 224
        size = preset.resize_size[0] if hasattr(preset, "crop_size") else 256
        return cls(
            crop,
            crop,
            tuple(preset.mean),
            tuple(preset.std),
            size / crop,
            preset.interpolation,
            f"transforms of {source}",
        )

    def resized(self, channels: int | None, height: int, width: int) -> Preprocessing:
        """The same preprocessing for another input size; other channel counts take the mean over the channels."""
        sized = replace(self, height=height, width=width)
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
        """Height and width in pixels that a photograph is resized to cover before it is cropped."""
        return round(self.height * self.resize), round(self.width * self.resize)

    def photograph(self, image: Image.Image) -> Tensor:
        """One photograph as a float32 tensor `[C, H, W]`; its EXIF orientation is applied."""
        return self.fitted(decoded(image, self.mode))

    def fitted(self, image: Image.Image) -> Tensor:
        """Pixels of `mode`, upright, of any size, as a float32 tensor `[C, H, W]`."""
        image = self._shortened(image)
        height, width = self.covered
        # As torchvision does it: the side that needs the larger enlargement decides, the other keeps the ratio.
        if height / image.height >= width / image.width:
            size = [height, int(height * image.width / image.height)]
        else:
            size = [int(width * image.height / image.width), width]
        pixels = F.resize(image, size, self.interpolation, antialias=True)
        cropped = F.center_crop(pixels, [self.height, self.width])
        return self.normalized(F.pil_to_tensor(cropped))

    def _shortened(self, image: Image.Image) -> Image.Image:
        """The middle of an image that is far more oblong than the input; any other image as it is."""
        widest = math.ceil(_MOST_OBLONG * image.height * max(1.0, self.width / self.height))
        tallest = math.ceil(_MOST_OBLONG * image.width * max(1.0, self.height / self.width))
        # An even number of pixels goes, or the centre would move by half of one.
        left = max(0, image.width - widest) // 2
        top = max(0, image.height - tallest) // 2
        if not left and not top:
            return image
        return image.crop((left, top, image.width - left, image.height - top))

    def pixels(self, array: npt.NDArray[np.uint8]) -> Tensor:
        """One uint8 array `[H, W, C]` of any size as a float32 tensor `[C, H, W]`; resized only if it must be."""
        if array.shape[:2] != (self.height, self.width):
            return self.photograph(Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array))
        return self.normalized(torch.from_numpy(np.array(array)).permute(2, 0, 1))  # a copy: it may be read-only

    def normalized(self, pixels: Tensor) -> Tensor:
        """uint8 `[C, H, W]` to float32, scaled to [0, 1] and normalized."""
        return F.normalize(F.convert_image_dtype(pixels, torch.float32), list(self.mean), list(self.std))
