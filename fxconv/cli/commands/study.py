"""`fxconv study`: how much calibration a model needs, and of what."""

from __future__ import annotations

from pathlib import Path

from fxconv.cli import startup
from fxconv.cli.options.analysis import CountsOption, RankingJsonOption, SeedsOption, SourcesOption, StudiedOption
from fxconv.cli.options.calibration import BatchSizeOption, ObserverOption, SeedOption
from fxconv.cli.options.int8 import ArithmeticOption, EngineOption, KeepFloatOption, RecipeOption, WeightSchemeOption
from fxconv.cli.options.model import HeadsOption, InputSizeOption, ModelArgument, UnsafeLoadOption, WeightsOption
from fxconv.cli.options.output import QuietOption, TracebackOption
from fxconv.cli.options.passes import PassOption, SkipOption
from fxconv.cli.results import tell
from fxconv.config import Arithmetic, Config, Engine, RangeMethod, Recipe, WeightScheme


def study(
    model: ModelArgument,
    counts: CountsOption = "1,10,100",
    sources: SourcesOption = "synthetic",
    seeds: SeedsOption = 3,
    held_out: StudiedOption = 50,
    weights: WeightsOption = "auto",
    unsafe_load: UnsafeLoadOption = False,
    input_size: InputSizeOption = None,
    heads: HeadsOption = None,
    batch_size: BatchSizeOption = 10,
    seed: SeedOption = 0,
    observer: ObserverOption = RangeMethod.histogram,
    engine: EngineOption = Engine.qnnpack,
    arithmetic: ArithmeticOption = Arithmetic.functional,
    weight_scheme: WeightSchemeOption = WeightScheme.per_channel,
    recipe: RecipeOption = None,
    keep_float: KeepFloatOption = None,
    pass_: PassOption = None,
    skip: SkipOption = None,
    json: RankingJsonOption = None,
    quiet: QuietOption = False,
    traceback_: TracebackOption = False,
) -> None:
    """How much calibration a model needs, and of what; nothing is converted."""
    config = Config(
        engine=engine,
        arithmetic=arithmetic,
        weight_scheme=weight_scheme,
        observer=observer,
        recipe=tuple(recipe or (Recipe.auto,)),
        seed=seed,
        batch_size=batch_size,
        passes=tuple(pass_ or ()),
        skip=tuple(skip or ()),
        keep_float=tuple(keep_float or ()),
        held_out=held_out,
    )
    from fxconv.cli.paths import check_distinct, check_target, model_file
    from fxconv.environment import check

    check_target(json, "--json")
    reads = {"the model": model_file(model), "--weights": Path(weights)}
    folders: dict[str, Path | None] = {f"--sources {name}": Path(name) for name in sources.split(",") if name.strip()}
    check_distinct({"--json": json}, reads | folders)
    check(engine.value)
    from fxconv.cli import terminal

    with terminal.progress(quiet) as progress:
        progress("loading", 0, 1)
        from fxconv.analysis.study import parse_counts
        from fxconv.analysis.study import study as run
        from fxconv.data.draws import parse_sources
        from fxconv.data.source import open_study
        from fxconv.quantization.passes import selected
        from fxconv.report import json as report_json
        from fxconv.report.accuracy import print_study

        numbers, names = parse_counts(counts), parse_sources(sources)
        selected(config)  # a misspelt pass is found here, not after minutes of work
        source, draws, judged = open_study(model, weights, input_size, names, held_out, config, unsafe_load, heads)
        startup.keep_what_is_imported()
        result = run(
            source.loaded.module,
            draws,
            judged,
            numbers,
            seeds,
            source.config,
            info=source.info,
            warnings=source.warnings,
            progress=progress,
        )
    tell(result, report_json.text(report_json.study(result)), json, lambda console: print_study(result, console))
