"""Options of how int8 is judged beside float."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True)
class AccuracyOptions:
    """What int8 must answer as well as, and on which images that is told."""

    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Keep the fewest, cheapest layers in float until top-1 agreement with float (with --eval or "
            "--labels: accuracy) falls by at most so many percentage points.",
            rich_help_panel="Budget",
        ),
    ] = None
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval",
            metavar="DIR",
            help="Photographs to tell accuracy by, in a folder for each class; its index is the number all folders' "
            "names begin with, or else its place in their order.",
            rich_help_panel="Budget",
        ),
    ] = None
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="The names of the classes, a line each, for the artifact; or the classes of photographs to tell "
            "accuracy by, a line file,index each, the files in --eval or beside FILE. Repeatable, for both.",
            rich_help_panel="Artifact",
        ),
    ] = None
    held_out: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most images to judge by, 200 by default; they are not used for calibration.",
            rich_help_panel="Budget",
        ),
    ] = None
    min_sqnr: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="Least int8 SQNR against float; by default 10, or 3 with random weights.",
            rich_help_panel="Int8",
        ),
    ] = None
    min_agreement: Annotated[
        float | None,
        typer.Option(
            metavar="PCT",
            help="Least percentage of answers that int8 and float agree on, counted on images used for nothing else.",
            rich_help_panel="Int8",
        ),
    ] = None
