"""Options of studies, rankings and examples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

MeasuredOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Most images to measure on; they are not used for calibration, if there are enough.",
        rich_help_panel="Calibration",
    ),
]
TopOption = Annotated[
    int | None, typer.Option(min=1, help="Show only so many layers, the worst.", rich_help_panel="Output")
]
ReportArgument = Annotated[Path, typer.Argument(metavar="FILE.json", help="A report that fxconv convert --json wrote.")]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of photographs, and folders in it.")]
DrawnOption = Annotated[
    int, typer.Option("-n", "--count", min=1, help="Photographs to draw.", rich_help_panel="Photographs")
]
ForModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Preprocess as this model wants it, any that fxconv convert takes; by default 224x224, with "
        "ImageNet's mean and deviation.",
        rich_help_panel="Model",
    ),
]
ArrayOption = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE.npy|.npz",
        help="Array to write; .npz for a model of several inputs.",
        rich_help_panel="Output",
    ),
]


@dataclass(frozen=True)
class DrawOptions:
    """What a study calibrates on, how often, and what it judges by."""

    counts: Annotated[
        str, typer.Option(metavar="N,N,…", help="Numbers of images to calibrate on.", rich_help_panel="Calibration")
    ] = "1,10,100"
    sources: Annotated[
        str,
        typer.Option(
            metavar="DIR,…,synthetic",
            help="Folders of photographs to draw from, and synthetic for generated images; judged on images of the "
            "first, set aside before.",
            rich_help_panel="Calibration",
        ),
    ] = "synthetic"
    seeds: Annotated[
        int, typer.Option(min=1, help="Draws of each source and number.", rich_help_panel="Calibration")
    ] = 3
    held_out: Annotated[
        int,
        typer.Option(
            min=1,
            help="Most images to judge on; at most half of those in the first source.",
            rich_help_panel="Calibration",
        ),
    ] = 50
