"""How the report on a terminal looks: its tables, and figures with their units."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from fxconv.report.columns import Column, lines
from fxconv.report.folding import HANGING, folded
from fxconv.report.screen import fit

# What a report is made of: sentences and tables.
Part = str | Table
# Of many names a row shows the first few.
_MOST_NAMED = 3


def grid(*columns: str, header: bool = True) -> Table:
    table = Table(box=None, show_header=header, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left")
    return table


def add(table: Table, *cells: str | Text) -> None:
    """A row whose words stand as they are: brackets in a path or a reason are no markup."""
    table.add_row(*(fit(cell) for cell in cells))


def show(table: Table, console: Console) -> None:
    """Print a table as wide as the console at most: no word is broken, nothing is cut, no line ends in spaces."""
    made = [
        Column(_bold(one.header if table.show_header else ""), list(map(_text, one.cells)), one.justify == "right")
        for one in table.columns
    ]
    if made:
        for line in lines(made, console.width, table.show_header):
            console.print(line, soft_wrap=True)


def say(console: Console, words: str | Text, style: str = "", hanging: str = HANGING) -> None:
    """Print a line, folded between words at the width of the console; what follows is indented by `hanging` more."""
    text = fit(words)
    hanging = text.plain[: len(text) - len(text.plain.lstrip())] + hanging
    text = Text(text.plain, style, spans=text.spans) if style else text
    for line in folded(text, console.width, hanging):
        console.print(line, soft_wrap=True)


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))


def _bold(head: RenderableType) -> Text:
    return Text(fit(_text(head)).plain, "bold")


def print_parts(parts: Iterable[Part], console: Console) -> None:
    """Sentences and tables, one below the other."""
    for part in parts:
        if isinstance(part, Table):
            show(part, console)
        else:
            say(console, part)


def section(console: Console, title: str) -> None:
    console.print()
    title = fit(title).plain
    say(console, title, "bold")
    console.print(Text("-" * min(cell_len(title), console.width), style="dim"), soft_wrap=True)


def size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def decibels(value: float) -> str:
    if math.isinf(value):
        return "exact" if value > 0 else "none"
    return f"{round(value, 1) + 0.0:.1f} dB"  # no -0.0


def milliseconds(value: float) -> str:
    return f"{value:.{1 if value >= 10 else 2 if value >= 0.1 else 3}f} ms"


def percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def count(number: int, noun: str, several: str = "") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {several or noun + 's'}"


def some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
