"""`fxconv sensitivity`: what quantizing each layer alone costs."""

from __future__ import annotations

from fxconv import lean
from fxconv.commands.results import tell
from fxconv.config import Arithmetic, Config, Engine, RangeMethod, Recipe, WeightScheme
from fxconv.options import (
    ArithmeticOption,
    BatchSizeOption,
    CalibCountOption,
    CalibOption,
    EngineOption,
    ExampleOption,
    HeadsOption,
    InputSizeOption,
    KeepFloatOption,
    MeasuredOption,
    ModelArgument,
    ObserverOption,
    PassOption,
    QuietOption,
    RankingJsonOption,
    RecipeOption,
    SeedOption,
    SkipOption,
    TopOption,
    TracebackOption,
    UnsafeLoadOption,
    WeightSchemeOption,
    WeightsOption,
)


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
    from fxconv.environment import check
    from fxconv.paths import check_distinct, check_target, read_files

    check_target(json, "--json")
    check_distinct({"--json": json}, read_files(model, weights, calib, example))
    check(engine.value)
    from fxconv import screen

    with screen.progress(quiet) as progress:
        progress("loading", 0, 1)
        from fxconv.report.accuracy import print_sensitivity
        from fxconv.sensitivity import sensitivity as run
        from fxconv.source import open_source

        source = open_source(model, weights, input_size, calib, example, config, unsafe_load, heads=heads)
        lean.keep_what_is_imported()
        result = run(
            source.loaded.module,
            source.data,
            source.config,
            info=source.info,
            warnings=source.warnings,
            progress=progress,
        )
    tell(result, json, lambda console: print_sensitivity(result, console, top))
