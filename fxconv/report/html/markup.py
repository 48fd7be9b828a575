"""Pieces of HTML. Whatever comes from a model, a path or a file goes through `text`."""

from __future__ import annotations

import html
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from fxconv.inspection.printable import visible
from fxconv.report.tables import Part


def text(value: object) -> str:
    """A value as text, in an element or an attribute: what turns text around, or is not seen, is written out."""
    return html.escape(visible(str(value), "\n\t"), quote=True)


def element(name: str, content: str, **attributes: object) -> str:
    """An element of markup; an attribute whose name is a word of Python ends in _, and dashes are written _."""
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    return f"<{name}{told}>{content}</{name}>"


def cut(words: str, most: int) -> str:
    """The end of a long name, which says more than its beginning; of a sentence the beginning."""
    if len(words) <= most:
        return words
    return f"{words[: most - 1]}…" if " " in words else f"…{words[1 - most :]}"


def section(name: str, title: str, *content: str) -> str:
    """A section with a heading, which the list at the top leads to."""
    head = element("h2", text(title), id=f"{name}-title")
    return element("section", "\n".join([head, *filter(None, content)]), id=name, aria_labelledby=f"{name}-title")


def table(
    rows: Iterable[Iterable[str]],
    heads: Iterable[str],
    caption: str,
    numbers: Iterable[int] = (),
    names: Iterable[str] = (),
    kind: str = "wide",
) -> str:
    """Rows of markup, the first cell of each its head; the columns `numbers` stand to the right.

    `names` are the rows' ids. It scrolls by itself where it is too wide.
    """
    right, titles, ids = set(numbers), list(heads), list(names)

    def cell(name: str, index: int, content: str, **attributes: object) -> str:
        return element(name, content, **attributes, **({"class_": "number"} if index in right else {}))

    columns = "".join(cell("th" if title else "td", index, text(title)) for index, title in enumerate(titles))
    columns = columns.replace("<th", '<th scope="col"')
    body = []
    for place, (first, *rest) in enumerate(rows):
        head = cell("td", 0, first) if 0 in right else cell("th", 0, first, scope="row")
        cells = head + "".join(cell("td", index, content) for index, content in enumerate(rest, 1))
        body.append(element("tr", cells, **({"id": ids[place]} if ids else {})))
    top = f"<thead><tr>{columns}</tr></thead>" if any(titles) else ""
    inner = f"{element('caption', text(caption))}{top}<tbody>\n" + "\n".join(body) + "\n</tbody>"
    return element("div", element("table", inner), class_=kind, tabindex="0", role="region", aria_label=caption)


def from_terminal(made: Table, caption: str) -> str:
    """A table of the report on a terminal."""
    columns = [[_plain(cell) for cell in column.cells] for column in made.columns]
    rows = [[text(cell) for cell in row] for row in zip(*columns, strict=True)]
    heads = [_plain(column.header) if made.show_header else "" for column in made.columns]
    right = [index for index, column in enumerate(made.columns) if column.justify == "right"]
    return table(rows, heads, caption, right)


def from_parts(parts: Iterable[Part], *captions: str) -> str:
    """Sentences and tables of the report on a terminal, the tables with these captions."""
    left = iter(captions)
    return "\n".join(
        from_terminal(part, next(left)) if isinstance(part, Table) else element("p", text(part)) for part in parts
    )


def _plain(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
