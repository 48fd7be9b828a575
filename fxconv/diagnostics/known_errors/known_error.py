"""One message that torch, a loader or a phone prints, with its cause and its cure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Place(Enum):
    """Where a message turns up."""

    INSTALLATION = "installation"
    CONVERSION = "conversion"
    TRAINING = "training"
    LOWERING = "lowering"
    FILES = "files"
    DEVICE = "device"


@dataclass(frozen=True)
class KnownError:
    """A row of the table.

    `pattern` is looked for in a text whose whitespace is single spaces; its named groups stand in `cause` and `cure` in
    braces. `example` is the message as it is printed. `cause` and `cure` are clauses without a full stop; the cure
    names the pass, option, command, call or version that helps. The evidence is `threads`, public ones that a reader
    can look up, or `provoked`: a test makes torch say it.
    """

    name: str
    place: Place
    pattern: re.Pattern[str]
    example: str
    cause: str
    cure: str
    threads: tuple[str, ...] = ()
    provoked: bool = False

    def matches(self, text: str) -> bool:
        """Whether the message stands in `text`, broken into lines or not."""
        return self.pattern.search(" ".join(text.split())) is not None

    @property
    def evidence(self) -> str:
        """The threads, and whether a test provokes it, in words."""
        return ", ".join((*self.threads, *(("a test that provokes it",) if self.provoked else ())))


def says(*alternatives: str) -> re.Pattern[str]:
    """A pattern for any of these. Every repetition in them is bounded: what is pasted may be anything."""
    return re.compile("|".join(alternatives))
