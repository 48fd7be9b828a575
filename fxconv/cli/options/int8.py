"""Options that say how int8 comes about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from fxconv.config import STEP_NAMES, Arithmetic, Engine, Mode, Recipe, WeightScheme

ModeOption = Annotated[
    Mode,
    typer.Option(
        help="static: ranges from calibration; dynamic: linear, LSTM and GRU layers only, ranged at run time; qat: "
        "fine-tuned while it is rounded, then static.",
        rich_help_panel="Int8",
    ),
]
ArithmeticOption = Annotated[
    Arithmetic,
    typer.Option(help="FloatFunctional, or each operator in dequantize/quantize.", rich_help_panel="Advanced"),
]


@dataclass(frozen=True)
class Int8Options:
    """The engine, and what is done for it."""

    engine: Annotated[
        Engine, typer.Option(help="Quantized engine; phones have qnnpack.", rich_help_panel="Advanced")
    ] = Engine.qnnpack
    arithmetic: ArithmeticOption = Arithmetic.functional
    weight_scheme: Annotated[
        WeightScheme, typer.Option(help="One scale an output channel, or one a layer.", rich_help_panel="Int8")
    ] = WeightScheme.per_channel
    recipe: Annotated[
        list[Recipe] | None,
        typer.Option(
            metavar="auto|none|STEP",
            help="Recovers accuracy without training: auto takes the steps that do not harm on images held out; or "
            f"name steps, repeatable: {', '.join(STEP_NAMES)}. adaround, which takes longer, goes with auto, too.",
            show_default="auto",
            rich_help_panel="Int8",
        ),
    ] = None
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Layers to run in float, by name with * and ?, such as features_0.* (fxconv diff and sensitivity "
            "show the names; the original model's count too); repeatable.",
            rich_help_panel="Int8",
        ),
    ] = None
