"""Options of commands about files that are there already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

RuntimesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime",
        metavar="RELEASE",
        help="Whether this library for phones loads the file, and what the app needs: pytorch_android_lite==2.1.0, "
        "LibTorch-Lite==2.1.0, executorch==1.5, …; may be repeated. Exit status 1 when one does not.",
        rich_help_panel="Phones",
    ),
]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Any file; it is read, and nothing in it is run.")]
SchemasOption = Annotated[
    bool,
    typer.Option(help="The signature of each operator, for which torch is started.", rich_help_panel="Output"),
]
InspectionJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE.json", help="Write all of it as JSON.", rich_help_panel="Output")
]
ArtifactsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="Files of the lite interpreter and of ExecuTorch; ratios are to the first."),
]
ArtifactExampleOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy|.npz",
        help="What the files take: an array [N, C, H, W] as it stands; of several inputs, arrays in order.",
        rich_help_panel="Model",
    ),
]
ArtifactArgument = Annotated[
    Path, typer.Argument(metavar="FILE.ptl|.pte", help="A file of the lite interpreter, or one of ExecuTorch.")
]
ProofJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE.json", help="Write all of it as JSON.", rich_help_panel="Output")
]
BenchJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write all of it as JSON, each run.", rich_help_panel="Output")
]


@dataclass(frozen=True)
class MeasurementOptions:
    """How latency is measured."""

    runs: Annotated[int, typer.Option(min=2, help="Runs of each file.", rich_help_panel="Measurement")] = 50
    warm_up: Annotated[
        int, typer.Option(min=0, help="Runs before those, which do not count.", rich_help_panel="Measurement")
    ] = 5
    threads: Annotated[int, typer.Option(min=1, help="Threads to run with.", rich_help_panel="Measurement")] = 1
    ops: Annotated[
        bool, typer.Option("--ops", help="What each operator takes, and in which layer.", rich_help_panel="Measurement")
    ] = False


@dataclass(frozen=True)
class ReplayOptions:
    """In which Python golden inputs are replayed, and what that may take."""

    python: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Replay in this Python's torch, 1.10 or later, or its ExecuTorch: such as the release of a phone's "
            "library.",
            rich_help_panel="Replay",
        ),
    ] = None
    timeout: Annotated[
        int,
        typer.Option(
            min=1, metavar="SECONDS", help="What the file may compute, all golden inputs.", rich_help_panel="Replay"
        ),
    ] = 300
    memory: Annotated[
        int, typer.Option(min=1, metavar="MB", help="What it may take beside its runtime.", rich_help_panel="Replay")
    ] = 4096


@dataclass(frozen=True)
class AgainstOptions:
    """The float model that a file is compared with, and on what."""

    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Compare with this float model as well, any that fxconv convert takes.",
            rich_help_panel="Against a model",
        ),
    ] = None
    photographs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE",
            help="Photographs to compare on, or an array; generated images by default.",
            rich_help_panel="Against a model",
        ),
    ] = None
    count: Annotated[
        int, typer.Option("-n", "--count", min=1, help="Most images to compare on.", rich_help_panel="Against a model")
    ] = 32
    min_sqnr: Annotated[
        float | None,
        typer.Option(
            "--min-sqnr",
            metavar="DB",
            help="Least SQNR of the file against float; by default 10, or 3 with random weights.",
            rich_help_panel="Against a model",
        ),
    ] = None
