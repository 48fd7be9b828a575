"""`fxconv sensitivity`: what quantizing each layer alone costs."""

from __future__ import annotations

from fxconv.cli import startup
from fxconv.cli.options.analysis import MeasuredOption, RankingJsonOption, TopOption
from fxconv.cli.options.calibration import BatchSizeOption, CalibCountOption, CalibOption, ObserverOption, SeedOption
from fxconv.cli.options.int8 import ArithmeticOption, EngineOption, KeepFloatOption, RecipeOption, WeightSchemeOption
from fxconv.cli.options.model import (
    ExampleOption,
    HeadsOption,
    InputSizeOption,
    ModelArgument,
    UnsafeLoadOption,
    WeightsOption,
)
from fxconv.cli.options.output import QuietOption, TracebackOption
from fxconv.cli.options.passes import PassOption, SkipOption
from fxconv.cli.results import tell
from fxconv.config import Arithmetic, Config, Engine, RangeMethod, Recipe, WeightScheme


def sensitivity(
    model: ModelArgument,
    weights: WeightsOption = "auto",
    unsafe_load: UnsafeLoadOption = False,
    input_size: InputSizeOption = None,
    heads: HeadsOption = None,
    example: ExampleOption = None,
    calib: CalibOption = None,
    calib_count: CalibCountOption = 100,
    batch_size: BatchSizeOption = 10,
    seed: SeedOption = 0,
    observer: ObserverOption = RangeMethod.histogram,
    held_out: MeasuredOption = 16,
    engine: EngineOption = Engine.qnnpack,
    arithmetic: ArithmeticOption = Arithmetic.functional,
    weight_scheme: WeightSchemeOption = WeightScheme.per_channel,
    recipe: RecipeOption = None,
    keep_float: KeepFloatOption = None,
    pass_: PassOption = None,
    skip: SkipOption = None,
    top: TopOption = None,
    json: RankingJsonOption = None,
    quiet: QuietOption = False,
    traceback_: TracebackOption = False,
) -> None:
    """What quantizing each layer alone costs, the worst first; nothing is converted."""
    config = Config(
        engine=engine,
        arithmetic=arithmetic,
        weight_scheme=weight_scheme,
        observer=observer,
        recipe=tuple(recipe or (Recipe.auto,)),
        seed=seed,
        calib_count=calib_count,
        batch_size=batch_size,
        passes=tuple(pass_ or ()),
        skip=tuple(skip or ()),
        keep_float=tuple(keep_float or ()),
        held_out=held_out,
    )
    from fxconv.cli.paths import check_distinct, check_target, read_files
    from fxconv.environment import check

    check_target(json, "--json")
    check_distinct({"--json": json}, read_files(model, weights, calib, example))
    check(engine.value)
    from fxconv.cli import terminal

    with terminal.progress(quiet) as progress:
        progress("loading", 0, 1)
        from fxconv.analysis.sensitivity import sensitivity as run
        from fxconv.data.source import open_source
        from fxconv.quantization.passes import selected
        from fxconv.report import json as report_json
        from fxconv.report.accuracy import print_sensitivity

        selected(config)  # a misspelt pass is found here, not after minutes of work
        source = open_source(model, weights, input_size, calib, example, config, unsafe_load, heads=heads)
        startup.keep_what_is_imported()
        result = run(
            source.loaded.module,
            source.data,
            source.config,
            info=source.info,
            warnings=source.warnings,
            progress=progress,
        )
    tell(
        result,
        report_json.text(report_json.sensitivity(result)),
        json,
        lambda console: print_sensitivity(result, console, top),
    )
