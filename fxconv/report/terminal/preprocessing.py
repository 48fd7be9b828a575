"""What was done with pixels, in the words of every view."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fxconv.models.preprocessing import Preprocessing


def preprocessing_words(how: Preprocessing | None) -> str:
    """What was done with pixels, and who says that it is right."""
    if how is None:
        return "none: it was given tensors, and what made them nobody said"
    said = "" if how.source in how.in_words else f": {how.source}"
    return f"{how.in_words} ({how.origin.value}{said})"
