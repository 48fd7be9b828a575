"""Text out of a file that somebody else made, fit for a terminal."""

from __future__ import annotations

_LONGEST = 120


def printable(text: str, longest: int = _LONGEST) -> str:
    """`text` on one line, cut to `longest` characters, its control and invisible characters written out.

        >>> printable("a\\x1b[2Jb")
        'a\\\\x1b[2Jb'

    What a terminal obeys (escape sequences, text that turns around) must not come from the file.
    """
    shown = visible(text[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def visible(text: str, kept: str = "") -> str:
    """All of `text`, its control and invisible characters written out, but for those in `kept`."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in kept else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def text_of(content: bytes) -> str | None:
    """`content` as text; None when it is binary."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    odd = sum(not letter.isprintable() and letter not in "\n\r\t" for letter in text)
    return None if "\0" in text or odd > len(text) // 10 else text
