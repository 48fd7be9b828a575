"""Options of quantization-aware training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from fxconv.config import Config, Mode, Teacher
from fxconv.errors import UserError


@dataclass(frozen=True)
class TrainingOptions:
    """What is learnt from, and for how long; they say nothing without a training."""

    train: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE.npy|.npz",
            help="Images to fine-tune on with --mode qat; by default those of --calib.",
            rich_help_panel="Training",
        ),
    ] = None
    train_count: Annotated[
        int, typer.Option(min=1, help="Most images to fine-tune on.", rich_help_panel="Training")
    ] = 1000
    learn_from: Annotated[
        Teacher,
        typer.Option(
            help="What is right: float's answers, or labels: a folder for each class in --train, numbered as in "
            "--eval.",
            rich_help_panel="Training",
        ),
    ] = Teacher.float
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the images.", rich_help_panel="Training")] = (
        Config.epochs
    )
    learning_rate: Annotated[float, typer.Option(help="Adam's, at the start.", rich_help_panel="Training")] = (
        Config.learning_rate
    )
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Written after each epoch; a run with the same options resumes from it.",
            rich_help_panel="Training",
        ),
    ] = None

    def check(self, mode: Mode, given: Callable[[str], bool]) -> None:
        """Raise `UserError` for those that were `given` and that nothing heeds."""
        if mode is not Mode.qat and (needless := [field.name for field in fields(self) if given(field.name)]):
            raise UserError(f"--{needless[0].replace('_', '-')} goes with --mode qat; leave it out, or train")
        if self.train is None and given("train_count"):
            raise UserError("--train-count goes with --train; leave it out, or name images to train on")
