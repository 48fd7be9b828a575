"""An error text -> what is known of it: cause, cure, evidence. Only to look up operators is torch imported."""

from __future__ import annotations

import re
import stat
import sys
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from fxconv.diagnostics.known_errors import KNOWN_ERRORS, KnownError
from fxconv.errors import UserError
from fxconv.inspection.printable import printable
from fxconv.inspection.what import kind_of, what_is

# What is looked at of a text, from its end: errors stand at the end of a log.
LONGEST = 2 << 20
_CHUNK = 1 << 16
# A message may come a thousand times, with another operator each: so many are told, of so many read.
_MOST_OF_A_KIND = 5
_MOST_READ = 1000
_LINE, _WORD = 200, 100
# Colours and the like that a terminal was sent.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]{0,20}[ -/]?[@-~]")
_TYPOGRAPHIC = str.maketrans("\u2018\u2019\u201c\u201d\u00a0", "''\"\" ")
_ERROR = re.compile(r"\b(?:\w{1,80}(?:Error|Exception)\b|error:|FATAL|INTERNAL ASSERT)", re.IGNORECASE)
_NOTHING = "nothing to look up; give the error text in quotes, a file that holds it, or pipe it in"


@dataclass(frozen=True)
class Diagnosis:
    """One message that was recognized: its row, the line it stands on (from 1) with its number, and what it names."""

    known_error: KnownError
    number: int
    line: str
    named: dict[str, str] = field(default_factory=dict)
    closer: str = ""

    @property
    def cause(self) -> str:
        """Why it is said, with the operator, key or version that the text names."""
        return self.known_error.cause.format_map(self.named)

    @property
    def cure(self) -> str:
        """What helps: what is known of the very operator, or of all such messages."""
        return self.closer or self.known_error.cure.format_map(self.named)


def diagnose(text: str) -> list[Diagnosis]:
    """All that is known of the messages in a text, the most telling first; empty when nothing is.

    The text may be a whole log, with timestamps, and a message may be broken into lines.
    """
    lines = _ESCAPES.sub("", text[-LONGEST:]).translate(_TYPOGRAPHIC).splitlines()
    starts, whole = _joined(lines)
    found: list[Diagnosis] = []
    for known_error in KNOWN_ERRORS:
        told: dict[tuple[str, str], Diagnosis] = {}
        for match in islice(known_error.pattern.finditer(whole), _MOST_READ):
            at = bisect_right(starts, match.start()) - 1
            end = starts[at + 1] if at + 1 < len(starts) else len(whole)
            one = Diagnosis(known_error, at + 1, _around(whole, starts[at], end, match.start()), _named(match))
            told.setdefault((one.cause, one.cure), one)
        found += list(told.values())[:_MOST_OF_A_KIND]
    return found


def known(error: BaseException | str) -> Diagnosis | None:
    """The most telling of what is known of an exception; None when nothing is."""
    return next(iter(diagnose(str(error))), None)


def cure_of(error: BaseException | str, otherwise: str = "") -> str:
    """What helps against an exception, or `otherwise` when nothing is known of it."""
    diagnosis = known(error)
    return diagnosis.cure if diagnosis is not None else otherwise


def _joined(lines: Sequence[str]) -> tuple[list[int], str]:
    """All lines as one of single spaces, and where each begins in it."""
    starts, parts, at = [], [], 0
    for line in lines:
        starts.append(at)
        words = " ".join(line.split())
        if words:
            parts.append(words)
            at += len(words) + 1
    return starts, " ".join(parts)


def _named(match: re.Match[str]) -> dict[str, str]:
    return {name: printable(value or "", _WORD) for name, value in match.groupdict().items()}


def _around(text: str, start: int, end: int, at: int) -> str:
    """The line from `start` to `end`, or as much of it as a screen takes from shortly before `at` on."""
    begin = max(start, min(at - 20, end - _LINE))
    return ("..." if begin > start else "") + printable(text[begin : min(end, begin + _LINE + 1)].rstrip(), _LINE)


def closer(diagnoses: Iterable[Diagnosis]) -> list[Diagnosis]:
    """The same with what the kernel table and the passes say of the operators named; it imports torch for them.

    Without a torch that works, whose fault the message may be, they stay as they are.
    """
    looked_up = []
    for one in diagnoses:
        cure = ""
        if one.known_error.name == "no-quantized-kernel":
            try:
                from fxconv.diagnostics.operator_cures import cure_of_operator

                cure = cure_of_operator(one.named["op"])
            except Exception:  # whatever a broken installation raises
                cure = ""
        looked_up.append(Diagnosis(one.known_error, one.number, one.line, one.named, cure))
    return looked_up


def last_error(text: str) -> str:
    """The last line of a text that looks like an error, or its last line; "" when it has none."""
    lines = [" ".join(line.split()) for line in _ESCAPES.sub("", text[-LONGEST:]).splitlines() if line.strip()]
    telling = next((line for line in reversed(lines) if _ERROR.search(line[: 10 * _LINE])), lines[-1] if lines else "")
    return printable(telling, _LINE)


def given_text(words: Sequence[str]) -> str:
    """The text that a command line means: files, the words themselves, or stdin. Raises `UserError` for none."""
    if not words or list(words) == ["-"]:
        if not words and sys.stdin.isatty():
            raise UserError(_NOTHING)
        text = _decoded(_tail(sys.stdin.buffer))
    elif all(map(_is_there, words)):  # several files of one shell pattern, too
        text = "\n".join(_read(Path(word)) for word in words)
    else:
        text = " ".join(words)
        if len(words) == 1 and _looks_like_a_path(text) and not diagnose(text):
            raise UserError(f"{printable(text)}: no such file, and no message that is known; {_NOTHING.split('; ')[1]}")
    if not text.strip():
        raise UserError(_NOTHING)
    return text


def _is_there(word: str) -> bool:
    try:
        return bool(word) and Path(word).exists()
    except (OSError, ValueError):  # a text, and no name that a file can have
        return False


def _looks_like_a_path(text: str) -> bool:
    return " " not in text and "::" not in text and ("/" in text or "\\" in text or Path(text).suffix != "")


def _read(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise UserError(f"{path}: not a file; give the file that holds the error text")
        if stat.S_ISREG(mode) and (what := what_is(path)).endswith("image"):
            raise UserError(f"{path}: is {what}, whose text fxconv does not read; type the error text, in quotes")
        if stat.S_ISREG(mode) and kind_of(path) is not None:
            raise UserError(f"{path}: is {what}, no error text; fxconv inspect {path} says what is in it")
        with path.open("rb") as file:
            return _decoded(_tail(file))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a file that can be read") from error


def _tail(stream: BinaryIO) -> bytes:
    """The end of a stream of any length, in little memory."""
    kept = bytearray()
    while chunk := stream.read(_CHUNK):
        kept += chunk
        if len(kept) > 2 * LONGEST:
            del kept[:-LONGEST]
    return bytes(kept[-LONGEST:])


def _decoded(content: bytes) -> str:
    """Bytes as text: what Windows writes, too, and what is no text with its odd bytes marked."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or content[1:200:2].count(0) > 50:
        return content.decode("utf-16-le" if content[:2] != b"\xfe\xff" else "utf-16-be", errors="replace")
    return content.decode("utf-8", errors="replace")
