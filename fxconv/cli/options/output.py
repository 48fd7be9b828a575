"""Options of what a command prints and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TracebackOption = Annotated[
    bool, typer.Option("--traceback", help="Show the traceback of an error.", rich_help_panel="Output")
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT.ptl",
        help="Artifact to write; MODEL.ptl unless said.",
        rich_help_panel="Output",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.json",
        help="Choices of an earlier conversion (--save-config); options on the command line go before.",
        rich_help_panel="Output",
    ),
]
SaveConfigOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="Write the choices that give this result again, layers kept for --max-drop included.",
        rich_help_panel="Output",
    ),
]
ReportOption = Annotated[
    bool, typer.Option("--report", help="Print diffs, ledger, timings: everything.", rich_help_panel="Output")
]
FullOption = Annotated[
    bool,
    typer.Option(
        "--full", help="Show changes that are alike one by one, and the lines around them.", rich_help_panel="Output"
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Stop after rewriting; write nothing.", rich_help_panel="Output")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.", rich_help_panel="Output")]
ReportJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the report as JSON.", rich_help_panel="Output")
]
ReportHtmlOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write the report, with graph and plots, as one HTML file.", rich_help_panel="Output"
    ),
]
