"""Options of the artifact and of how it is lowered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fxconv.config import Method, MobilePass, Postprocess, Sigmoid, Ties

OpListOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.yaml",
        help="Write its operators, overloads and all, as SELECTED_OP_LIST wants them for a library with no others.",
        rich_help_panel="Phones",
    ),
]


@dataclass(frozen=True)
class ArtifactOptions:
    """What is in the artifact beside the network."""

    golden: Annotated[
        bool,
        typer.Option(
            help="Golden inputs in the artifact, at most 2 % of it, by which fxconv verify and the phone prove it.",
            rich_help_panel="Phones",
        ),
    ] = True
    normalize_in_graph: Annotated[
        bool,
        typer.Option(
            "--normalize-in-graph",
            help="The artifact takes uint8 pixels, and scales and normalizes them itself.",
            rich_help_panel="Phones",
        ),
    ] = False


@dataclass(frozen=True)
class LoweringOptions:
    """How the int8 module becomes a file for a runtime."""

    method: Annotated[
        Method,
        typer.Option(
            help="How the int8 module becomes TorchScript; auto traces what cannot be scripted.",
            rich_help_panel="Advanced",
        ),
    ] = Method.auto
    allow_frozen_branches: Annotated[
        bool,
        typer.Option(
            "--allow-frozen-branches",
            help="Trace a model although it decides by the numbers in a tensor: the artifact decides as the example "
            "does, and is wrong for inputs that decide otherwise.",
            rich_help_panel="Advanced",
        ),
    ] = False
    block: Annotated[
        list[MobilePass] | None,
        typer.Option(
            metavar="MOBILE_PASS",
            help="Pass of optimize_for_mobile not to run; repeatable: " + ", ".join(p.value for p in MobilePass),
            rich_help_panel="Advanced",
        ),
    ] = None
    java: Annotated[
        bool, typer.Option("--java", help="No prepacked:: operators, which Java lacks.", rich_help_panel="Phones")
    ] = False
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RELEASE",
            help="The library that must load the artifact, such as pytorch_android_lite==2.1.0, LibTorch-Lite==2.1.0 "
            "or executorch==1.3: its operators and formats are checked, and bytecode is written older where that "
            "helps. May be given once a kind of file.",
            rich_help_panel="Phones",
        ),
    ] = None
    dynamic_sizes: Annotated[
        str | None,
        typer.Option(
            metavar="MIN:MAX",
            help="Heights and widths in pixels that a .pte takes, such as 128:512; the example's alone by default.",
            rich_help_panel="Phones",
        ),
    ] = None


@dataclass(frozen=True)
class DetectorOptions:
    """What a detector's artifact makes of the network's outputs."""

    postprocess: Annotated[
        Postprocess | None,
        typer.Option(help="What the artifact makes of the network's outputs: detections.", rich_help_panel="Detectors"),
    ] = None
    peak_threshold: Annotated[
        float, typer.Option(help="Least score of a detection, from 0 to below 1.", rich_help_panel="Detectors")
    ] = 0.3
    peak_count: Annotated[int, typer.Option(min=1, help="Most detections an image.", rich_help_panel="Detectors")] = 100
    ties: Annotated[
        Ties,
        typer.Option(
            help="Equal neighbours: index, one detection a plateau; noise tells them apart; keep, all.",
            rich_help_panel="Detectors",
        ),
    ] = Ties.index
    sigmoid: Annotated[
        Sigmoid,
        typer.Option(help="Look for peaks among scores (sigmoid first) or among logits.", rich_help_panel="Detectors"),
    ] = Sigmoid.first
