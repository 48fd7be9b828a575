"""Options that name a model and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fxconv.cli import completion

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=completion.models,
        help="A torchvision name or detector:… (fxconv models), timm:NAME, transformers:CLASS, FILE.py:FACTORY, or "
        "PACKAGE.MODULE:FACTORY.",
    ),
]
# Of a command that --config may tell the model.
OptionalModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        autocompletion=completion.models,
        help="A torchvision name or detector:… (fxconv models), timm:NAME, transformers:CLASS, FILE.py:FACTORY, or "
        "PACKAGE.MODULE:FACTORY; of --config or --calibration by default.",
    ),
]
WeightsOption = Annotated[
    str,
    typer.Option(
        metavar="auto|random|PATH",
        help="auto: torchvision's, when cached or fetched within seconds, or timm's, when cached, else random; or a "
        "checkpoint.",
        rich_help_panel="Model",
    ),
]
InputSizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|HxW|CxHxW|CxTxHxW", help="Input size in pixels; T frames of a clip.", rich_help_panel="Model"
    ),
]
ModelArgOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="An argument of what makes the model, or a field of its configuration, such as num_classes=10 or "
        "vision_config.hidden_size=64; repeatable.",
        rich_help_panel="Model",
    ),
]
HeadsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:CHANNELS,…",
        help="Heads of a detector:…, such as hm:3,wh:2; by default those of the checkpoint, or else hm:1.",
        rich_help_panel="Detectors",
    ),
]


@dataclass(frozen=True)
class LoadingOptions:
    """How the model that was named is loaded."""

    weights: WeightsOption = "auto"
    unsafe_load: Annotated[
        bool,
        typer.Option(
            "--unsafe-load",
            help="Unpickle all of the checkpoint: runs whatever code is in it, so only for files you trust.",
            rich_help_panel="Advanced",
        ),
    ] = False
    weights_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Of several state_dicts in the checkpoint the one there, such as ema or ema.model.",
            rich_help_panel="Model",
        ),
    ] = None
    weights_prefix: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX",
            help="Take what begins with this in the checkpoint, without it, such as net.backbone.; module., model. and "
            "_orig_mod. go by themselves.",
            rich_help_panel="Model",
        ),
    ] = None
    input_size: InputSizeOption = None
    model_arg: ModelArgOption = None
    heads: HeadsOption = None


@dataclass(frozen=True)
class TracingOptions(LoadingOptions):
    """How it is loaded, and what it is traced with."""

    example: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npy|.npz",
            help="Preprocessed input a trace records; of several inputs, arrays named as forward's parameters or in "
            "order.",
            rich_help_panel="Advanced",
        ),
    ] = None
