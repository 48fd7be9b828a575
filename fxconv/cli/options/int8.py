"""Options that say how int8 comes about."""

from __future__ import annotations

from typing import Annotated

import typer

from fxconv.config import (
    STEP_NAMES,
    Arithmetic,
    Engine,
    Mode,
    Recipe,
    WeightScheme,
)

EngineOption = Annotated[Engine, typer.Option(help="Quantized engine; phones have qnnpack.", rich_help_panel="Int8")]
WeightSchemeOption = Annotated[
    WeightScheme, typer.Option(help="One scale an output channel, or one a layer.", rich_help_panel="Int8")
]
RecipeOption = Annotated[
    list[Recipe] | None,
    typer.Option(
        metavar="auto|none|STEP",
        help="Recovers accuracy without training: auto takes the steps that do not harm on images held out; or name "
        f"steps, repeatable: {', '.join(STEP_NAMES)}. adaround, which takes longer, goes with auto, too.",
        show_default="auto",
        rich_help_panel="Int8",
    ),
]
KeepFloatOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Layers to run in float, by name with * and ?, such as features_0.* (fxconv diff and sensitivity show the "
        "names; the original model's count too); repeatable.",
        rich_help_panel="Int8",
    ),
]
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
    typer.Option(help="FloatFunctional, or each operator in dequantize/quantize.", rich_help_panel="Int8"),
]
