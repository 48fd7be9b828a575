"""The pixels of an image: upright, greyscale or RGB, whatever kind they are."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps

_SIXTEEN_BITS = 65535


class UnreadablePhotograph(Exception):
    """A file that gives no photograph; the message says why in a few words."""


def decoded(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """The pixels of an image, upright, in `mode`; alpha is dropped, 16 bits keep the upper eight.

    Raises `UnreadablePhotograph` for floating-point pixels and 32-bit integers: nothing says what is white in them.
    """
    image.load()
    image = _upright(image)
    if image.mode == "F":
        raise UnreadablePhotograph("its pixels are floating-point numbers of unknown range; save 8 or 16 bits")
    if image.mode.startswith("I"):  # pillow's own conversion turns all above 255 white
        values = np.asarray(image)
        if values.min() < 0 or values.max() > _SIXTEEN_BITS:
            raise UnreadablePhotograph("its pixels are 32-bit integers of unknown range; save 8 or 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    return image if image.mode == mode else image.convert(mode)


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image  # exif_transpose would copy it
        return ImageOps.exif_transpose(image)
    except Exception:  # metadata that cannot be read turns nothing
        return image
