"""Options of how int8 is judged beside float."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MaxDropOption = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        help="Keep the fewest, cheapest layers in float until top-1 agreement with float (with --eval or --labels: "
        "accuracy) falls by at most so many percentage points.",
        rich_help_panel="Budget",
    ),
]
EvalOption = Annotated[
    Path | None,
    typer.Option(
        "--eval",
        metavar="DIR",
        help="Photographs to tell accuracy by, in a folder for each class; its index is the number all folders' "
        "names begin with, or else its place in their order.",
        rich_help_panel="Budget",
    ),
]
LabelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="The names of the classes, a line each, for the artifact; or the classes of photographs to tell accuracy "
        "by, a line file,index each, the files in --eval or beside FILE. Repeatable, for both.",
        rich_help_panel="Artifact",
    ),
]
JudgedOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Most images to judge by, 200 unless said; they are not used for calibration.",
        rich_help_panel="Budget",
    ),
]
MinSqnrOption = Annotated[
    float | None,
    typer.Option(
        metavar="DB",
        help="Least int8 SQNR against float; 10 unless said, 3 with random weights.",
        rich_help_panel="Int8",
    ),
]
