"""`fxconv study`: how much calibration a model needs, and of what."""

from __future__ import annotations

from pathlib import Path

from fxconv import lean
from fxconv.commands.results import tell
from fxconv.config import Arithmetic, Config, Engine, RangeMethod, Recipe, WeightScheme
from fxconv.options import (
    ArithmeticOption,
    BatchSizeOption,
    CountsOption,
    EngineOption,
    HeadsOption,
    InputSizeOption,
    KeepFloatOption,
    ModelArgument,
    ObserverOption,
    PassOption,
    QuietOption,
    RankingJsonOption,
    RecipeOption,
    SeedOption,
    SeedsOption,
    SkipOption,
    SourcesOption,
    StudiedOption,
    TracebackOption,
    UnsafeLoadOption,
    WeightSchemeOption,
    WeightsOption,
)


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
    from fxconv.environment import check
    from fxconv.paths import check_distinct, check_target, model_file

    check_target(json, "--json")
    reads = {"the model": model_file(model), "--weights": Path(weights)}
    folders: dict[str, Path | None] = {f"--sources {name}": Path(name) for name in sources.split(",") if name.strip()}
    check_distinct({"--json": json}, reads | folders)
    check(engine.value)
    from fxconv import screen

    with screen.progress(quiet) as progress:
        progress("loading", 0, 1)
        from fxconv.report.accuracy import print_study
        from fxconv.source import open_study
        from fxconv.study import parse_counts, parse_sources
        from fxconv.study import study as run

        numbers, names = parse_counts(counts), parse_sources(sources)
        source, draws, judged = open_study(model, weights, input_size, names, held_out, config, unsafe_load, heads)
        lean.keep_what_is_imported()
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
    tell(result, json, lambda console: print_study(result, console))
