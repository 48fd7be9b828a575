"""Options of how int8 is judged beside float."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fxconv.errors import UserError

MetricOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.py:NAME",
        help="Judge by a function of your own, called with the model and an iterator of (batch, target or None), which "
        "returns a number, higher for better: mAP, IoU, minus a landmark's error.",
        rich_help_panel="Accuracy",
    ),
]


@dataclass(frozen=True)
class MetricOptions:
    """A metric of the user's, and the images and targets it is asked on."""

    metric: MetricOption = None
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval",
            metavar="DIR|FILE.npz",
            help="With --metric: photographs in a folder for each class, or an array of images and one of targets.",
            rich_help_panel="Accuracy",
        ),
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --metric: the classes of photographs, a line file,index each, the files in --eval or beside "
            "FILE.",
            rich_help_panel="Accuracy",
        ),
    ] = None

    @property
    def lists(self) -> tuple[Path, ...]:
        """The files that name photographs."""
        return () if self.labels is None else (self.labels,)

    def check(self) -> None:
        """Raise `UserError` for images with targets that nothing would look at."""
        for option, given in (("--eval", self.evaluation), ("--labels", self.labels)):
            if given is not None and self.metric is None:
                raise UserError(f"{option} {given}: goes with --metric FILE.py:NAME here; give one, or leave it out")


@dataclass(frozen=True)
class AccuracyOptions:
    """What int8 must answer as well as, and on which images that is told."""

    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Keep the fewest, cheapest layers in float until top-1 agreement with float (with --eval or "
            "--labels: accuracy) falls by at most so many percentage points; with --metric, by so many hundredths of "
            "its unit.",
            rich_help_panel="Accuracy",
        ),
    ] = None
    metric: MetricOption = None
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval",
            metavar="DIR|FILE.npz",
            help="Photographs to tell accuracy by, in a folder for each class; its index is the number all folders' "
            "names begin with, or else its place in their order. With --metric also arrays: images and targets.",
            rich_help_panel="Accuracy",
        ),
    ] = None
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="The names of the classes, a line each, for the artifact; or the classes of photographs to tell "
            "accuracy by, a line file,index each, the files in --eval or beside FILE. Repeatable, for both.",
            rich_help_panel="Accuracy",
        ),
    ] = None
    held_out: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most images to judge by, 200 by default; they are not used for calibration.",
            rich_help_panel="Accuracy",
        ),
    ] = None
    min_sqnr: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="Least int8 SQNR against float; by default 10, or 3 with random weights.",
            rich_help_panel="Accuracy",
        ),
    ] = None
    min_agreement: Annotated[
        float | None,
        typer.Option(
            metavar="PCT",
            help="Least percentage of answers that int8 and float agree on, counted on images used for nothing else.",
            rich_help_panel="Accuracy",
        ),
    ] = None
