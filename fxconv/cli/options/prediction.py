"""Options of what a file is asked on photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

ImagesArgument = Annotated[
    list[Path], typer.Argument(metavar="IMAGES...", help="Photographs, and folders of them with the folders in them.")
]


@dataclass(frozen=True)
class PredictionOptions:
    """What is printed for each image, and how much time and memory the file may use."""

    top: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Classes or objects told of each output.", rich_help_panel="Output"),
    ] = 5
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The names of the classes, a line each; by default those in the file.",
            rich_help_panel="Output",
        ),
    ] = None
    timeout: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="What the file may compute.", rich_help_panel="Advanced")
    ] = 300
    memory: Annotated[
        int, typer.Option(min=1, metavar="MB", help="What it may take beside torch.", rich_help_panel="Advanced")
    ] = 4096
