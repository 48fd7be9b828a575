"""The files that ride along in an archive."""

from __future__ import annotations

from fxconv.inspection.found import ExtraFile
from fxconv.inspection.printable import text_of

# A label file of ten thousand classes fits; a golden output need not be shown.
LONGEST_TEXT = 256 << 10


def extra_file(name: str, size: int, content: bytes | None) -> ExtraFile:
    """`content` is all of the file, or anything where it is longer than `LONGEST_TEXT`; None where it was not read."""
    return ExtraFile(name, size, text_of(content) if content is not None and size <= LONGEST_TEXT else None)
