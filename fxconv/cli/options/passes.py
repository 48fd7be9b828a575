"""Options of the rewriting and its diffs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Format(str, Enum):
    """How a diff is printed."""

    text = "text"
    markdown = "markdown"
    json = "json"


PassOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pass",
        metavar="MODULE:CLASS",
        help="A pass of your own, FILE.py:CLASS too; repeatable.",
        rich_help_panel="Passes",
    ),
]
SkipOption = Annotated[
    list[str] | None, typer.Option(metavar="PASS", help="Do not run this pass; repeatable.", rich_help_panel="Passes")
]
UntilOption = Annotated[
    str | None, typer.Option(metavar="PASS", help="Stop rewriting after this pass.", rich_help_panel="Passes")
]
PassOnlyOption = Annotated[
    str | None,
    typer.Option(metavar="PASS", help="Run all passes, show what this one did.", rich_help_panel="Passes"),
]
FormatOption = Annotated[
    Format,
    typer.Option("--format", help="text for a terminal, markdown for a pull request, json.", rich_help_panel="Output"),
]
EmitOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.py",
        help="Write the rewritten model as a Python file that imports torch alone, to be quantized by hand.",
        rich_help_panel="Output",
    ),
]
PassesJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the passes as JSON.", rich_help_panel="Output")
]
