"""Where in a photograph lies what a network finds in its input: the resize and the crop, taken back."""

from __future__ import annotations

from dataclasses import dataclass

from fxconv.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Places:
    """From pixels of the network's input to pixels of an upright photograph, and what they were multiplied by.

    Both count from the upper left corner of the upper left pixel, x to the right and y down. A pixel of the input is
    `across` pixels of the photograph wide and `down` high; its origin lies at `left` and `top`, which are below 0
    where the crop reaches beyond the photograph.
    """

    left: float
    top: float
    across: float
    down: float

    def photograph(self, x: float, y: float) -> tuple[float, float]:
        """The same point in the photograph."""
        return self.left + x * self.across, self.top + y * self.down

    def enlarged(self, width: float, height: float) -> Places:
        """The same for a photograph that many times as wide and high as the one which was preprocessed."""
        return Places(self.left * width, self.top * height, self.across * width, self.down * height)


def places(how: Preprocessing, height: int, width: int) -> Places | None:
    """Where the input lies in an upright photograph of this size; None where a function preprocesses, and who knows."""
    if not how.says_values:
        return None
    left, top, right, bottom = how.middle(height, width)
    tall, wide = how.resized_to(bottom - top, right - left)
    across, down = (right - left) / wide, (bottom - top) / tall
    return Places(
        left + _cropped(wide, how.width) * across,
        top + _cropped(tall, how.height) * down,
        across,
        down,
    )


def _cropped(full: int, kept: int) -> int:
    """How many pixels go before the centre, as torchvision crops it; below 0 those that it puts there."""
    if kept <= full:
        return round((full - kept) / 2.0)
    return -((kept - full) // 2)
