"""`fxconv diff`: the rewriting alone, and its diffs."""

from __future__ import annotations

from fxconv.cli.options.calibration import SeedOption
from fxconv.cli.options.int8 import ArithmeticOption
from fxconv.cli.options.model import (
    ExampleOption,
    HeadsOption,
    InputSizeOption,
    ModelArgument,
    UnsafeLoadOption,
    WeightsOption,
)
from fxconv.cli.options.output import FullOption, TracebackOption
from fxconv.cli.options.passes import (
    EmitOption,
    Format,
    FormatOption,
    PassesJsonOption,
    PassOnlyOption,
    PassOption,
    SkipOption,
    UntilOption,
)
from fxconv.cli.rewriting import Shown, show_rewriting
from fxconv.config import Arithmetic, Config


def diff(
    model: ModelArgument,
    weights: WeightsOption = "random",
    unsafe_load: UnsafeLoadOption = False,
    input_size: InputSizeOption = None,
    heads: HeadsOption = None,
    example: ExampleOption = None,
    seed: SeedOption = 0,
    arithmetic: ArithmeticOption = Arithmetic.functional,
    pass_: PassOption = None,
    skip: SkipOption = None,
    until: UntilOption = None,
    pass_only: PassOnlyOption = None,
    full: FullOption = False,
    format_: FormatOption = Format.text,
    emit: EmitOption = None,
    json: PassesJsonOption = None,
    traceback_: TracebackOption = False,
) -> None:
    """Rewrite only, and print the diffs; nothing is calibrated."""
    config = Config(arithmetic=arithmetic, seed=seed, passes=tuple(pass_ or ()), skip=tuple(skip or ()), until=until)
    shown = Shown("rewrote", full, pass_only, format_)
    show_rewriting(model, weights, unsafe_load, input_size, heads, example, config, json, shown, emit)
