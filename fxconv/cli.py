"""The command line. Each command parses, calls the library, renders; torch is imported only by those that need it."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

from fxconv.interruptions import STOPS, told_in_one_line

if TYPE_CHECKING:
    from rich.console import Console

    from fxconv.sensitivity import Sensitivity
    from fxconv.study import Study

_STARTED = time.perf_counter()
with told_in_one_line():
    import typer

    from fxconv import endings, lean, streams
    from fxconv.config import (
        Arithmetic,
        Config,
        Engine,
        Method,
        Mode,
        RangeMethod,
        Recipe,
        Sigmoid,
        Teacher,
        Ties,
        WeightScheme,
    )
    from fxconv.errors import ConversionError, UserError, stage
    from fxconv.options import (
        ArithmeticOption,
        ArrayOption,
        BatchSizeOption,
        BlockOption,
        CalibCountOption,
        CalibOption,
        CheckpointOption,
        ConfigOption,
        CountsOption,
        DrawnOption,
        DryRunOption,
        EngineOption,
        EpochsOption,
        EvalOption,
        ExampleOption,
        FolderArgument,
        Format,
        FormatOption,
        ForModelOption,
        FullOption,
        HeadsOption,
        InputSizeOption,
        JavaOption,
        JudgedOption,
        KeepFloatOption,
        LabelsOption,
        LearnFromOption,
        LearningRateOption,
        MaxDropOption,
        MeasuredOption,
        MethodOption,
        MinSqnrOption,
        ModelArgument,
        ModeOption,
        ObserverOption,
        OutputOption,
        PassesJsonOption,
        PassOnlyOption,
        PassOption,
        PeakCountOption,
        PeakThresholdOption,
        PostprocessOption,
        QuietOption,
        RankingJsonOption,
        RecipeOption,
        ReportArgument,
        ReportJsonOption,
        ReportOption,
        SaveConfigOption,
        SeedOption,
        SeedsOption,
        SigmoidOption,
        SkipOption,
        SourcesOption,
        StudiedOption,
        TiesOption,
        TopOption,
        TracebackOption,
        TrainCountOption,
        TrainOption,
        UnsafeLoadOption,
        UntilOption,
        WeightSchemeOption,
        WeightsOption,
    )

_IMPORTED_IN = time.perf_counter() - _STARTED

app = typer.Typer(
    help="A vision model as its authors wrote it in; a verified int8 artifact for phones, and the diff of what was "
    "changed, out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _versions(asked: bool) -> None:
    if asked:
        from fxconv.environment import versions

        typer.echo(versions())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_versions, help="Print the versions that matter.")
    ] = False,
) -> None:
    """Options of no command."""


@app.command()
def convert(
    context: typer.Context,
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
    mode: ModeOption = Mode.static,
    engine: EngineOption = Engine.qnnpack,
    arithmetic: ArithmeticOption = Arithmetic.functional,
    weight_scheme: WeightSchemeOption = WeightScheme.per_channel,
    recipe: RecipeOption = None,
    keep_float: KeepFloatOption = None,
    max_drop: MaxDropOption = None,
    eval_: EvalOption = None,
    labels: LabelsOption = None,
    held_out: JudgedOption = None,
    min_sqnr: MinSqnrOption = None,
    pass_: PassOption = None,
    skip: SkipOption = None,
    method: MethodOption = Method.auto,
    block: BlockOption = None,
    java: JavaOption = False,
    train: TrainOption = None,
    train_count: TrainCountOption = 1000,
    learn_from: LearnFromOption = Teacher.float,
    epochs: EpochsOption = Config.epochs,
    learning_rate: LearningRateOption = Config.learning_rate,
    checkpoint: CheckpointOption = None,
    postprocess: PostprocessOption = None,
    peak_threshold: PeakThresholdOption = 0.3,
    peak_count: PeakCountOption = 100,
    ties: TiesOption = Ties.index,
    sigmoid: SigmoidOption = Sigmoid.first,
    output: OutputOption = None,
    config_file: ConfigOption = None,
    save_config: SaveConfigOption = None,
    report: ReportOption = False,
    full: FullOption = False,
    json: ReportJsonOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    traceback_: TracebackOption = False,
) -> None:
    """Convert a model to a verified int8 .ptl."""
    started = time.perf_counter()
    from fxconv.config_file import chosen, reproducing, text

    choices = {
        "mode": mode,
        "engine": engine,
        "arithmetic": arithmetic,
        "weight_scheme": weight_scheme,
        "observer": observer,
        "recipe": tuple(recipe or (Recipe.auto,)),
        "min_sqnr": min_sqnr,
        "seed": seed,
        "calib_count": calib_count,
        "batch_size": batch_size,
        "passes": tuple(pass_ or ()),
        "skip": tuple(skip or ()),
        "method": method,
        "block": tuple(block or ()),
        "java": java,
        "keep_float": tuple(keep_float or ()),
        "max_drop": max_drop,
        "held_out": held_out,
        "postprocess": postprocess,
        "peak_threshold": peak_threshold,
        "peak_count": peak_count,
        "ties": ties,
        "sigmoid": sigmoid,
        "learn_from": learn_from,
        "epochs": epochs,
        "learning_rate": learning_rate,
    }
    config = chosen(config_file, choices, _given(context))
    from fxconv.arrays import split_name
    from fxconv.paths import check_distinct, check_target, default_output, read_files

    writes: dict[str, Path | None] = {"--json": json, "--save-config": save_config}
    for option, path in {"-o": output, **writes}.items():
        check_target(path, option)
    if config.mode is not Mode.qat and (given := [name for name in _OF_TRAINING if _given(context)(name)]):
        raise UserError(f"--{given[0].replace('_', '-')} goes with --mode qat; leave it out, or train")
    if train is None and _given(context)("train_count"):
        raise UserError("--train-count goes with --train; leave it out, or name images to train on")
    if config.mode is Mode.dynamic and (eval_ is not None or labels is not None):
        raise UserError("--eval and --labels go with --mode static or qat, not with dynamic: leave them out")
    check_target(checkpoint, "--checkpoint")
    reads = read_files(model, weights, calib, example) | {"--config": config_file, "--eval": eval_, "--labels": labels}
    reads |= {"--train": train and split_name(train)[0]}
    writes["--checkpoint"] = checkpoint
    check_distinct({"-o": output, **writes}, reads)
    if dry_run:
        shown = _Shown("would rewrite", full)
        _show_rewriting(model, weights, unsafe_load, input_size, heads, example, config, json, shown)
        return
    from fxconv.environment import check

    check(config.engine.value)
    target = output or default_output(model)
    check_distinct({"the artifact": target, **writes}, reads)
    from fxconv import screen

    with screen.progress(quiet) as progress:
        progress("loading", 0, 1)
        from fxconv.conversion import convert as run
        from fxconv.source import open_source, open_training

        imported = time.perf_counter()
        source = open_source(model, weights, input_size, calib, example, config, unsafe_load, eval_, labels, heads)
        training = open_training(source, train, train_count) if train is not None else None
        for warning in source.warnings:
            screen.warn(warning)
        lean.keep_what_is_imported()
        before = {"importing": _IMPORTED_IN + imported - started, "loading": time.perf_counter() - imported}
        conversion = run(
            source.loaded.module,
            source.data,
            source.example,
            source.config,
            held_out=source.labelled,
            training=training,
            checkpoint=checkpoint,
            info=source.info,
            output=target,
            warnings=source.warnings,
            progress=progress,
            before=before,
        )
    try:
        done = f"; {target} is written and verified" if conversion.verified else ""
        if json is not None:  # before anything is printed: whoever reads the output may stop reading
            _write_json(json, conversion.report.json_text(), done)
        if save_config is not None and conversion.verified:
            _write_json(
                save_config, text(reproducing(conversion.config, conversion.recipe.steps)), done, "--save-config"
            )
    finally:
        conversion.report.print(screen.console(), full=report or full, unfolded=full)
        if not (report or full):
            for warning in conversion.warnings[len(source.warnings) :]:
                screen.warn(warning)
    if not conversion.verified:
        kept = "; the file there is from before" if target.exists() else ""
        raise ConversionError(f"{model}: {conversion.verdict}; {target} was not written{kept}; {conversion.cure}")


@app.command()
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
    json: PassesJsonOption = None,
    traceback_: TracebackOption = False,
) -> None:
    """Rewrite only, and print the diffs; nothing is calibrated or written."""
    config = Config(arithmetic=arithmetic, seed=seed, passes=tuple(pass_ or ()), skip=tuple(skip or ()), until=until)
    shown = _Shown("rewrote", full, pass_only, format_)
    _show_rewriting(model, weights, unsafe_load, input_size, heads, example, config, json, shown)


@app.command()
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
    _tell(result, json, lambda console: print_sensitivity(result, console, top))


@app.command()
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
    _tell(result, json, lambda console: print_study(result, console))


@app.command()
def example(
    folder: FolderArgument,
    count: DrawnOption = 1,
    seed: SeedOption = 0,
    model: ForModelOption = None,
    input_size: InputSizeOption = None,
    heads: HeadsOption = None,
    output: ArrayOption = Path("example.npy"),
    quiet: QuietOption = False,
    traceback_: TracebackOption = False,
) -> None:
    """Draw photographs, preprocess them, and save the array that --example and --calib take."""
    from fxconv.paths import check_distinct, check_target, model_file

    check_target(output, "-o")
    check_distinct({"-o": output}, {"DIR": folder, "--model": model_file(model) if model else None})
    from fxconv import screen

    with screen.progress(quiet) as progress:
        from fxconv.example import write_example
        from fxconv.report.terminal import print_example

        written = write_example(folder, output, count, seed, model, input_size, heads, progress)
    for warning in written.warnings:
        screen.warn(warning)
    print_example(written, screen.console())


@dataclass(frozen=True)
class _Shown:
    """How a rewriting is told: in which words, whether unfolded, of which pass alone, and in which format."""

    tense: str
    full: bool = False
    only: str | None = None
    format: Format = Format.text


def _show_rewriting(
    model: str,
    weights: str,
    unsafe_load: bool,
    input_size: str | None,
    heads: str | None,
    example: Path | None,
    config: Config,
    json: Path | None,
    shown: _Shown,
) -> None:
    from fxconv.environment import check
    from fxconv.paths import check_target

    check_target(json, "--json")
    if shown.only is not None:
        from fxconv.passes import check_selected

        check_selected(shown.only, config)
    check(config.engine.value)
    from fxconv.dry_run import rewrite_only
    from fxconv.report.review import markdown
    from fxconv.report.terminal import print_dry_run
    from fxconv.screen import console

    with stage(lambda: "rewriting"):
        result = rewrite_only(model, weights, input_size, config, unsafe_load, example, heads)
    try:
        if json is not None:
            _write_json(json, result.json_text())
    finally:
        if shown.format is Format.json:
            typer.echo(result.json_text(shown.only), nl=False)
        elif shown.format is Format.markdown:
            typer.echo(markdown(result.rewritten, result.model.name, shown.full, shown.only), nl=False)
        else:
            print_dry_run(result, console(), shown.tense, shown.full, shown.only)
    if not result.parity.passed:
        raise ConversionError(f"{model}: the rewritten model differs from the original: {result.parity.problem}")


# Options that say nothing without a training.
_OF_TRAINING = ("train", "train_count", "learn_from", "epochs", "learning_rate", "checkpoint")


def _given(context: typer.Context) -> Callable[[str], bool]:
    """Whether the user set a field of `Config` on the command line."""

    def given(field: str) -> bool:
        source = context.get_parameter_source({"passes": "pass_"}.get(field, field))
        return source is not None and source.name == "COMMANDLINE"

    return given


def _tell(result: Sensitivity | Study, json: Path | None, show: Callable[[Console], None]) -> None:
    """Write what was measured, and print it even where it cannot be written: it may have taken an hour."""
    from fxconv import screen

    try:
        if json is not None:
            _write_json(json, result.json_text())
    finally:
        for warning in result.warnings:
            screen.warn(warning)
        show(screen.console())


def _write_json(path: Path, text: str, done: str = "", option: str = "--json") -> None:
    """Write a report or choices. When that fails `done` says what was written all the same."""
    from fxconv.staging import write_whole

    try:
        write_whole(path, text, option)
    except UserError as error:
        raise UserError(f"{error}{done}") from error


@app.command()
def compare(
    first: ReportArgument,
    second: ReportArgument,
    traceback_: TracebackOption = False,
) -> None:
    """What differs between two conversions, by their JSON reports."""
    from fxconv.compare import differences, read_report
    from fxconv.report.comparison import print_comparison
    from fxconv.screen import console

    a, b = read_report(first), read_report(second)
    print_comparison((first, second), (a, b), differences(a, b), console())


@app.command()
def models() -> None:
    """What can be named."""
    from fxconv.models import ALIASES, detectors, names

    for name in (*names(), *detectors()):
        typer.echo(name)
    for alias, name in ALIASES.items():
        typer.echo(f"{alias} (means {name})")


@app.command()
def passes() -> None:
    """The rewrite passes in the order they run, a line each."""
    from rewrites import ALTERNATIVES, DEFAULT_PASSES

    width = max(len(rule.name) for rule in (*DEFAULT_PASSES, *ALTERNATIVES))
    for number, rule in enumerate(DEFAULT_PASSES, 1):
        typer.echo(f"{number:2}  {rule.name:{width}}  {rule.summary()}")
    for rule in ALTERNATIVES:
        typer.echo(f" -  {rule.name:{width}}  {rule.summary()} (on request)")


@app.command()
def explain(
    name: Annotated[str, typer.Argument(metavar="PASS", help="The name of a pass (fxconv passes).")],
    traceback_: TracebackOption = False,
) -> None:
    """The page of one pass: what it does, why the engine needs it, an example."""
    from fxconv.pages import pass_page
    from fxconv.passes import find

    typer.echo(pass_page(find(name)))


def main() -> NoReturn:
    """Run the command line; every kind of trouble ends with one line and its own exit status.

    0 done and verified; 1 converted but not verified, or a fault of fxconv's; 2 the user's input was wrong; 130, 143
    and 129 interrupted, terminated, hung up; 141 nobody reads the output any more.
    """
    STOPS.listen()
    streams.open_closed()
    streams.print_anything()
    end, error = _run()
    STOPS.end()
    with suppress(OSError):  # nobody reads it; the status says it
        if error is not None and "--traceback" in sys.argv:
            traceback.print_exception(error)
        if end.line:
            print(f"fxconv: error: {end.line}", file=sys.stderr, flush=True)
    raise SystemExit(end.status)


def start() -> NoReturn:
    """What the command `fxconv` runs: `main`, in a process that starts and ends as fast as it can."""
    lean.put_off_compiler()
    lean.keep_freed_memory()
    try:
        main()
    except SystemExit as end:
        lean.end(int(end.code or 0))


def _run() -> tuple[endings.Ending, BaseException | None]:
    """The command, to its last printed word: how it ended, and what it raised if it did."""
    end, raised = endings.Ending(endings.DONE), None
    try:
        with streams.quiet_libraries():
            command = typer.main.get_command(app)
            with command.make_context("fxconv", sys.argv[1:]) as context:
                command.invoke(context)
        STOPS.check()
    except typer.Exit as done:  # --help, --version
        end = endings.Ending(done.exit_code)
    except BaseException as error:
        usage = hasattr(error, "format_message")  # the parser's own
        end = endings.usage(error, " ".join(["fxconv", *_command()])) if usage else endings.ending(error)
        raised = error
    try:
        streams.flush()
    except OSError as error:
        if end.status == endings.DONE:
            end, raised = endings.ending(error), error
    return end, raised


def _command() -> list[str]:
    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    return [word for word in sys.argv[1:2] if word in known]
