"""Photographs to input tensors, the way the weights were trained to see them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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

    def photograph(self, image: Image.Image) -> Tensor:
        """One photograph as a float32 tensor `[C, H, W]`; its EXIF orientation is applied."""
        image = ImageOps.exif_transpose(image).convert("L" if self.channels == 1 else "RGB")
        target_height, target_width = round(self.height * self.resize), round(self.width * self.resize)
        # As torchvision does it: the side that needs the larger enlargement decides, the other keeps the ratio.
        if target_height / image.height >= target_width / image.width:
            size = [target_height, int(target_height * image.width / image.height)]
        else:
            size = [int(target_width * image.height / image.width), target_width]
        pixels = F.resize(image, size, self.interpolation, antialias=True)
        cropped = F.center_crop(pixels, [self.height, self.width])
        return self.normalized(F.pil_to_tensor(cropped))

    def pixels(self, array: npt.NDArray[np.uint8]) -> Tensor:
        """One uint8 array `[H, W, C]` of any size as a float32 tensor `[C, H, W]`; resized only if it must be."""
        if array.shape[:2] != (self.height, self.width):
            return self.photograph(Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array))
        return self.normalized(torch.from_numpy(np.array(array)).permute(2, 0, 1))  # a copy: it may be read-only

    def normalized(self, pixels: Tensor) -> Tensor:
        """uint8 `[C, H, W]` to float32, scaled to [0, 1] and normalized."""
        return F.normalize(F.convert_image_dtype(pixels, torch.float32), list(self.mean), list(self.std))
