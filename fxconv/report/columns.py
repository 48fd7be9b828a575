"""A table in lines: its columns beside each other as long as every word in them is whole, the rest beneath each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.text import Text

from fxconv.report.folding import HANGING, folded, widest_word

_GAP = 2
# A column of sentences that is narrower than this reads worse than the same sentences beneath their rows.
_NARROWEST = 20
# Of a column without a name that has gone beneath, cells as short as this stay beside the others: "ok" is one.
_SHORT = 8


@dataclass(frozen=True)
class Column:
    """One column: what stands above it, "" for nothing, and its cells."""

    head: Text
    cells: Sequence[Text]
    is_right: bool = False

    @cached_property
    def width(self) -> int:
        """The cells of the widest line in it."""
        return max(one.cell_len for one in (self.head, *self.cells))

    @cached_property
    def least(self) -> int:
        """How narrow it can be: figures and words are whole, and sentences have room for some words in a line."""
        if self.is_right:
            return max(widest_word(self.head), *(cell.cell_len for cell in self.cells))
        return max(min(self.width, _NARROWEST), *(widest_word(one) for one in (self.head, *self.cells)))


def lines(columns: Sequence[Column], width: int, has_heads: bool) -> Iterator[Text]:
    """The lines of a table, none of them wider than `width` unless a single word is."""
    widths, beneath = _placed(columns, width, has_heads)
    if has_heads:
        yield from _row([Text() if i in beneath else c.head for i, c in enumerate(columns)], columns, widths, True)
    for row in range(len(columns[0].cells)):
        cells = [column.cells[row] for column in columns]
        under = [i for i in sorted(beneath) if columns[i].head.plain or not _fits(cells[i], widths[i])]
        under = [index for index in under if cells[index].plain]
        yield from _row([Text() if index in under else cell for index, cell in enumerate(cells)], columns, widths)
        for index in under:
            head = columns[index].head.plain
            said = Text.assemble(HANGING, f"{head}: " if head else "", cells[index])
            yield from folded(said, width, HANGING * 2)


def _placed(columns: Sequence[Column], width: int, has_heads: bool) -> tuple[list[int], list[int]]:
    """How wide each column is, and which of them have gone beneath their rows."""
    beneath: list[int] = []
    while not (widths := _widths([_beside(c) if i in beneath else c for i, c in enumerate(columns)], width)):
        left = [index for index in range(1, len(columns)) if index not in beneath]
        if not left:
            return [width, *(0 for _ in columns[1:])], beneath
        room = width - columns[0].width - _GAP
        if len(columns) == 2 and not has_heads and room >= _NARROWEST:  # names and what is said of each
            return [columns[0].width, room], left
        beneath.append(max(left, key=lambda index: columns[index].least) if has_heads else left[-1])
    return widths, beneath


def _beside(column: Column) -> Column:
    """What of a column that has gone beneath stays beside the others: short cells, where no name stands above them."""
    short = [cell if cell.cell_len <= _SHORT and not column.head.plain else Text() for cell in column.cells]
    return Column(Text(), short, column.is_right)


def _fits(cell: Text, width: int) -> bool:
    """Whether a cell stays beside the others: it is one short line, or a sentence with room for its words."""
    return cell.cell_len <= width if width < _NARROWEST else widest_word(cell) <= width


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """How wide each column is, so that all stand beside each other; empty where they cannot."""
    found, least = [column.width for column in columns], [column.least for column in columns]
    over = sum(found) + _GAP * (sum(map(bool, found)) - 1) - width
    while over > 0:
        wide = [index for index in range(len(columns)) if found[index] > least[index]]
        if not wide:
            return []
        found[max(wide, key=found.__getitem__)] -= 1
        over -= 1
    return found


def _row(
    cells: Sequence[Text], columns: Sequence[Column], widths: Sequence[int], is_head: bool = False
) -> Iterator[Text]:
    """A row, as many lines high as its highest cell; heads stand right above their columns."""
    parts = [folded(cell, width, "") if width else [] for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, parts))
    if is_head:
        parts = [[*([Text()] * (height - len(part))), *part] for part in parts]
    for number in range(height):
        line = Text()
        for part, column, width in zip(parts, columns, widths, strict=True):
            if not width:
                continue
            words = part[number] if number < len(part) else Text()
            room = " " * max(width - words.cell_len, 0)
            line.append_text(Text.assemble(room, words) if column.is_right else Text.assemble(words, room))
            line.append(" " * _GAP)
        line.rstrip()
        yield line
