"""Views of one Conversion. They read it and compute nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from fxconv.conversion import Conversion


class Report:
    """A conversion, shown: `print` for people, `json` for programs, `html_text` for a browser."""

    def __init__(self, conversion: Conversion) -> None:
        self.conversion = conversion

    def __repr__(self) -> str:
        return f"<Report of {self.conversion!r}>"

    def _repr_html_(self) -> str:
        """The verdict and the summary, as a notebook shows them below a cell."""
        from fxconv.report.html import fragment

        return fragment(self.conversion)

    def print(self, console: Console | None = None, full: bool = True, unfolded: bool = False) -> None:
        """Print the whole report, or with `full` False the summary of about ten lines.

        Changes that are alike are shown once; with `unfolded` one by one.
        """
        from fxconv.report import terminal  # here: it imports torch, which other views do without
        from fxconv.report.screen import Screen

        console = console or Screen()
        if full:
            terminal.print_report(self.conversion, console, unfolded)
        else:
            terminal.print_summary(self.conversion, console)

    def json(self) -> dict[str, Any]:
        """The report as plain values, schema 1."""
        from fxconv.report import json

        return json.report(self.conversion)

    def json_text(self) -> str:
        """`json` as indented text."""
        from fxconv.report import json

        return json.text(self.json())

    def html_text(self, command: str = "") -> str:
        """The report as one HTML file that needs nothing else; `command` is the line that was typed, if one was.

        It shows the layers of a conversion that was asked for them (`fxconv.convert(..., layers=True)`).
        """
        from fxconv.report.html import page

        return page(self.conversion, command)

    def write_html(self, path: str | Path, command: str = "") -> None:
        """Write `html_text` to a file, whole or not at all."""
        from fxconv.data.staged_file import write_whole

        write_whole(Path(path), self.html_text(command))
