"""Options of how photographs become what the model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from fxconv.pixel_options import Interpolation

_PANEL = "Preprocessing"


@dataclass(frozen=True)
class PreprocessingOptions:
    """What becomes of pixels: a whole recipe, and parts of it; by default what is known of the weights."""

    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="torchvision|timm|unit|raw|FILE.py:FUNCTION",
            help="How photographs become what the model takes: as torchvision or timm does it, as values from 0 to 1 "
            "(unit) or 0 to 255 (raw), or by a function that makes a tensor [C, H, W] of an image of pillow's. By "
            "default the weights' own transforms where they have some, else torchvision's, with a warning.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="M,M,M",
            help="Subtracted from values from 0 to 1 (with raw: 0 to 255), one a channel or one for all.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    std: Annotated[
        str | None,
        typer.Option(metavar="S,S,S", help="What they are divided by after that.", rich_help_panel=_PANEL),
    ] = None
    resize: Annotated[
        str | None,
        typer.Option(
            metavar="N|HxW",
            help="Resized first: the shorter side to N pixels, or to exactly HxW.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="N|HxW|none",
            help="Cropped then: the middle, as large as the input; none resizes all of the image to the input's size.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    interpolation: Annotated[
        Interpolation | None, typer.Option(help="How pixels are resized.", rich_help_panel=_PANEL)
    ] = None
