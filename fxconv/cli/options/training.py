"""Options of quantization-aware training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fxconv.config import (
    Teacher,
)

TrainOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR|FILE.npy|.npz",
        help="Images to fine-tune on with --mode qat; those of --calib unless said.",
        rich_help_panel="Training",
    ),
]
TrainCountOption = Annotated[int, typer.Option(min=1, help="Most images to fine-tune on.", rich_help_panel="Training")]
LearnFromOption = Annotated[
    Teacher,
    typer.Option(
        help="What is right: float's answers, or labels: a folder for each class in --train, numbered as in --eval.",
        rich_help_panel="Training",
    ),
]
EpochsOption = Annotated[int, typer.Option(min=1, help="Most passes over the images.", rich_help_panel="Training")]
LearningRateOption = Annotated[float, typer.Option(help="Adam's, at the start.", rich_help_panel="Training")]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Written after each epoch; a run with the same choices that finds it goes on from there.",
        rich_help_panel="Training",
    ),
]
