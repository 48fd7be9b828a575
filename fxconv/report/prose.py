"""A page of text, such as a pass's, folded at the width of a screen that is narrower."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console

from fxconv.report.folding import HANGING
from fxconv.report.tables import say

# What a line of code or of a diff begins with.
_CODE = ("    ", "+", "-", "\t")
_ITEM = "- "
_HUNK = "@@"


def print_page(page: str, console: Console) -> None:
    """Its lines as they are; where one is too wide its paragraph is folded anew, and code line by line."""
    for is_text, block in groupby(page.splitlines(), lambda line: bool(line.strip())):
        given = list(block)
        is_diff = any(line.startswith(_HUNK) for line in given)
        is_wide = is_text and not is_diff and any(cell_len(line) > console.width for line in given)
        for line in _joined(given) if is_wide else given:
            say(console, line, hanging=_hanging(line, is_diff))


def _joined(lines: list[str]) -> Iterator[str]:
    """Paragraphs and items on a line each; lines of code as they are."""
    paragraph = ""
    for line in lines:
        is_item, is_code = line.startswith(_ITEM), line.startswith(_CODE) and not line.startswith(_ITEM)
        if paragraph and (is_item or is_code):
            yield paragraph
            paragraph = ""
        if is_code:
            yield line
        else:
            paragraph = f"{paragraph} {line.strip()}" if paragraph else line
    if paragraph:
        yield paragraph


def _hanging(line: str, is_diff: bool) -> str:
    return HANGING if is_diff or line.startswith((_ITEM, *_CODE)) else ""
