"""Pieces of HTML. Whatever comes from a model, a path or a file goes through `text`."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text


def text(value: object) -> str:
    """A value as text, in an element or an attribute."""
    return html.escape(str(value), quote=True)


def element(name: str, content: str, **attributes: object) -> str:
    """An element of markup; an attribute whose name is a word of Python ends in _, and dashes are written _."""
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    return f"<{name}{told}>{content}</{name}>"


def section(name: str, title: str, *content: str) -> str:
    """A section with a heading, which the list at the top leads to."""
    head = element("h2", text(title), id=f"{name}-title")
    return element("section", "\n".join([head, *filter(None, content)]), id=name, aria_labelledby=f"{name}-title")


def table(rows: Iterable[Iterable[str]], heads: Iterable[str], caption: str, numbers: Iterable[int] = ()) -> str:
    """Rows of markup; the columns `numbers` stand to the right. It scrolls by itself where it is too wide."""
    right, titles = set(numbers), list(heads)
    columns = "".join(
        element("th", text(title), scope="col", **({"class_": "number"} if index in right else {}))
        for index, title in enumerate(titles)
    )
    body = "\n".join(
        element(
            "tr",
            "".join(
                element("td", cell, **({"class_": "number"} if index in right else {}))
                for index, cell in enumerate(row)
            ),
        )
        for row in rows
    )
    head = f"<thead><tr>{columns}</tr></thead>" if any(titles) else ""
    inner = f"{element('caption', text(caption))}{head}<tbody>\n{body}\n</tbody>"
    return element("div", element("table", inner), class_="wide", tabindex="0", role="region", aria_label=caption)


def from_terminal(made: Table, caption: str) -> str:
    """A table of the report on a terminal."""
    columns = [[_plain(cell) for cell in column.cells] for column in made.columns]
    rows = [[text(cell) for cell in row] for row in zip(*columns, strict=True)]
    heads = [_plain(column.header) if made.show_header else "" for column in made.columns]
    right = [index for index, column in enumerate(made.columns) if column.justify == "right"]
    return table(rows, heads, caption, right)


def _plain(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def printed(show: Callable[[Console], None]) -> str:
    """What a part of the report on a terminal prints below its heading, as it stands there."""
    file = io.StringIO()
    show(Console(file=file, width=110, color_system=None, force_terminal=False))
    lines = file.getvalue().strip("\n").splitlines()
    return element("pre", text("\n".join(lines[2:])), tabindex="0") if lines[2:] else ""
