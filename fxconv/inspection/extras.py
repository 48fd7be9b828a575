"""The files that ride along in an archive."""

from __future__ import annotations

from fxconv.inspection.found import ExtraFile
from fxconv.inspection.printable import text_of

# A label file of ten thousand classes fits; a golden output need not be shown.
LONGEST_TEXT = 256 << 10


def extra_file(name: str, size: int, content: bytes) -> ExtraFile:
    """`content` is all of the file, or what begins it where it is longer than `LONGEST_TEXT`."""
    return ExtraFile(name, size, text_of(content) if size <= LONGEST_TEXT else None)
