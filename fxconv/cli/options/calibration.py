"""Options of calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fxconv.config import RangeMethod

SeedOption = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything drawn at random.", rich_help_panel="Calibration")
]


@dataclass(frozen=True)
class CalibrationImages:
    """The images to calibrate on."""

    calib: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE.npy|.npz",
            help="Photographs, or an array of inputs, FILE.npz:NAME for one of several, FILE.npz for all of several "
            "inputs; generated images by default.",
            rich_help_panel="Calibration",
        ),
    ] = None
    calib_count: Annotated[int, typer.Option(min=1, help="Most images to use.", rich_help_panel="Calibration")] = 100


@dataclass(frozen=True)
class CalibrationOptions:
    """How ranges come about, whatever the images are."""

    batch_size: Annotated[
        int, typer.Option(min=1, help="Images at a time, in training too.", rich_help_panel="Advanced")
    ] = 10
    seed: SeedOption = 0
    observer: Annotated[
        RangeMethod,
        typer.Option(
            help="Range of what was observed: least squared error (histogram, or mse with rounding), all of it, or "
            "99.99 % at either end.",
            rich_help_panel="Int8",
        ),
    ] = RangeMethod.histogram
