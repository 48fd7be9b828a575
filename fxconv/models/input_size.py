"""What --input-size says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fxconv.errors import UserError

# Numbers in one input: with more, every layer needs gigabytes.
_MOST_VALUES = 3 * 4096 * 4096


@dataclass(frozen=True)
class InputSize:
    """What --input-size says: pixels, and channels and frames of a clip where they are given."""

    height: int
    width: int
    channels: int | None = None
    frames: int | None = None


def parse_input_size(text: str | None) -> InputSize | None:
    """`N`, `HxW`, `CxHxW` or, of clips, `CxTxHxW`; None when nothing is given."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if not all(re.fullmatch("0*[1-9][0-9]{0,8}", part) for part in parts) or len(parts) > 4:
        raise UserError(
            f"--input-size {text}: expected N, HxW, CxHxW or CxTxHxW in pixels, such as 224, 240x320, 1x28x28 or "
            "3x16x112x112"
        )
    sizes = [int(part) for part in parts]
    channels = sizes.pop(0) if len(sizes) > 2 else None
    frames = sizes.pop(0) if len(sizes) > 2 else None
    height, width = sizes * 2 if len(sizes) == 1 else sizes
    if (channels or 3) * (frames or 1) * height * width > _MOST_VALUES:
        raise UserError(f"--input-size {text}: is too large; 3x4096x4096 is the most")
    return InputSize(height, width, channels, frames)
