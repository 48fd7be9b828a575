"""Lines folded at the width of a screen: between words, and a word that is wider than the screen where it has parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from rich.cells import cell_len
from rich.text import Text

# What follows a folded line begins here.
HANGING = "  "
# A figure stays with its unit, and a comment in code with its sign.
_UNITS = r"(?:%|dB|[kMG]B|bytes|ms|µs|s)(?![\w])"
# Where a line may end, the best places first: behind a word; then, in a word that is too wide by itself, behind a
# folder of a path, a part of a dotted name, and a part of any other.
_ENDS = (
    re.compile(rf"(?<=[^\s#])\s+(?!\s)(?!(?<=\d\s){_UNITS})"),
    re.compile(r"[/\\]+"),
    re.compile(r"::|[.,;:=(\[]+"),
    re.compile(r"[_-]+"),
)


def folded(text: Text, width: int, hanging: str = HANGING) -> list[Text]:
    """`text` in lines of at most `width` cells, those behind the first indented by `hanging`.

    A word that has no parts stays whole, however wide it is. Spaces at the ends of lines are left out.
    """
    lines: list[Text] = []
    start, plain = 0, text.plain
    while True:
        indent = hanging if lines else ""
        room = max(width - cell_len(indent), 1)
        end = len(plain) if cell_len(plain[start:].rstrip()) <= room else _end(plain, start, room)
        part = text[start:end]
        part.rstrip()
        lines.append(Text.assemble(indent, part) if indent else part)
        start = end
        if not plain[start:].strip():
            return lines


def _end(plain: str, start: int, room: int) -> int:
    """Where the line that begins at `start` ends: at the last of the best places that leave it narrow enough."""
    word = len(plain)
    for ends in _ENDS:
        fits = [at for at in _behind(ends, plain, start, word) if cell_len(plain[start:at].rstrip()) <= room]
        if fits:
            return fits[-1]
        if ends is _ENDS[0]:  # its first word is too wide: it may end inside that, and must end behind it
            word = next(_behind(ends, plain, start, word), word)
    return word


def _behind(ends: re.Pattern[str], plain: str, start: int, stop: int) -> Iterator[int]:
    # what a line begins with is its indentation, or the root of a path
    first = start + len(plain[start:stop]) - len(plain[start:stop].lstrip(" /\\.-"))
    return (match.end() for match in ends.finditer(plain, first, stop) if match.end() < len(plain))


def widest_word(text: Text) -> int:
    """The cells of the widest piece that `folded` leaves whole between words."""
    places = [0, *_behind(_ENDS[0], text.plain, 0, len(text)), len(text)]
    return max(cell_len(text.plain[one:other].strip()) for one, other in pairwise(places))
