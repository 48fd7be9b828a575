"""Options of what a command prints and writes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from fxconv.cli.options.lowering import OpListOption


class Format(str, Enum):
    """How a diff is printed."""

    text = "text"
    markdown = "markdown"
    json = "json"


TracebackOption = Annotated[
    bool, typer.Option("--traceback", help="Show the traceback of an error.", rich_help_panel="Advanced")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.", rich_help_panel="Output")]
_FullOption = Annotated[
    bool,
    typer.Option(
        "--full", help="Show changes that are alike one by one, and the lines around them.", rich_help_panel="Output"
    ),
]


@dataclass(frozen=True)
class ConversionOutput:
    """What a conversion writes and prints, or that it stops before."""

    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT.ptl|.pte",
            help="File to write, of the kind that its name says; may be repeated, one of each kind. MODEL.ptl by "
            "default.",
            rich_help_panel="Output",
        ),
    ] = None
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.json",
            help="Choices of an earlier conversion (--save-config); options on the command line go before.",
            rich_help_panel="Output",
        ),
    ] = None
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FILE",
            help="A calibration that --save-calibration wrote: another file is made of it, without images.",
            rich_help_panel="Output",
        ),
    ] = None
    save_config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Write the choices that give this result again, layers kept for --max-drop included.",
            rich_help_panel="Output",
        ),
    ] = None
    save_calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write ranges and recipe, of which --calibration makes other files later, without images.",
            rich_help_panel="Output",
        ),
    ] = None
    op_list: OpListOption = None
    report: Annotated[
        bool, typer.Option("--report", help="Print diffs, ledger, timings: everything.", rich_help_panel="Output")
    ] = False
    full: _FullOption = False
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the report, with graph and plots, as one HTML file.", rich_help_panel="Output"
        ),
    ] = None
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as JSON.", rich_help_panel="Output")
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop after rewriting; write nothing.", rich_help_panel="Output")
    ] = False
    quiet: QuietOption = False
    traceback_: TracebackOption = False

    @property
    def reports(self) -> dict[str, Path | None]:
        """The files that are written beside the artifact, by their options."""
        return {
            "--html": self.html,
            "--json": self.json,
            "--save-config": self.save_config,
            "--save-calibration": self.save_calibration,
            "--op-list": self.op_list,
        }


@dataclass(frozen=True)
class DiffOutput:
    """How a diff is printed, and what is written beside it."""

    full: _FullOption = False
    format: Annotated[
        Format,
        typer.Option(
            "--format", help="text for a terminal, markdown for a pull request, json.", rich_help_panel="Output"
        ),
    ] = Format.text
    emit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.py",
            help="Write the rewritten model as a Python file that imports torch alone, to be quantized by hand.",
            rich_help_panel="Output",
        ),
    ] = None
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the passes as JSON.", rich_help_panel="Output")
    ] = None
    traceback_: TracebackOption = False


@dataclass(frozen=True)
class MeasuredOutput:
    """Where what was measured is written."""

    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all of it as JSON.", rich_help_panel="Output")
    ] = None
    quiet: QuietOption = False
    traceback_: TracebackOption = False
