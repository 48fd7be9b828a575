"""Options of the rewriting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True)
class PassOptions:
    """The passes that run: more than there are, or fewer."""

    passes: Annotated[
        list[str] | None,
        typer.Option(
            "--pass",
            metavar="MODULE:CLASS",
            help="A pass of your own, FILE.py:CLASS too; repeatable.",
            rich_help_panel="Advanced",
        ),
    ] = None
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="PASS", help="Do not run this pass; repeatable.", rich_help_panel="Advanced"),
    ] = None


@dataclass(frozen=True)
class ShownPassOptions(PassOptions):
    """The passes that run, and of which of them the diff is."""

    until: Annotated[
        str | None, typer.Option(metavar="PASS", help="Stop rewriting after this pass.", rich_help_panel="Advanced")
    ] = None
    pass_only: Annotated[
        str | None,
        typer.Option(metavar="PASS", help="Run all passes, show what this one did.", rich_help_panel="Advanced"),
    ] = None
