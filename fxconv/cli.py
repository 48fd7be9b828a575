"""The command line. Each command parses, calls the library, renders; torch is imported only by those that need it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

from fxconv.interruptions import STOPS, told_in_one_line

with told_in_one_line():
    import typer

    from fxconv import endings, streams
    from fxconv.config import Arithmetic, Config, Engine, Method, MobilePass, RangeMethod, WeightScheme
    from fxconv.errors import ConversionError, UserError, stage

app = typer.Typer(
    help="A vision model as its authors wrote it in; a verified int8 artifact for phones, and the diff of what was "
    "changed, out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A torchvision name (fxconv models), FILE.py:FACTORY, or PACKAGE.MODULE:FACTORY."
    ),
]
WeightsOption = Annotated[
    str,
    typer.Option(
        metavar="auto|random|PATH",
        help="auto: torchvision's, when cached or fetched within seconds, else random; or a checkpoint.",
        rich_help_panel="Model",
    ),
]
UnsafeLoadOption = Annotated[
    bool,
    typer.Option(
        "--unsafe-load",
        help="Unpickle all of the checkpoint: runs whatever code is in it, so only for files you trust.",
        rich_help_panel="Model",
    ),
]
InputSizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|HxW|CxHxW|CxTxHxW", help="Input size in pixels; T frames of a clip.", rich_help_panel="Model"
    ),
]
ExampleOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy|.npz",
        help="Preprocessed input a trace records; of several inputs, arrays named as forward's parameters or in order.",
        rich_help_panel="Model",
    ),
]
CalibOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR|FILE.npy|.npz",
        help="Photographs, or an array of inputs, FILE.npz:NAME for one of several, FILE.npz for all of several "
        "inputs; generated images unless said.",
        rich_help_panel="Calibration",
    ),
]
CalibCountOption = Annotated[int, typer.Option(min=1, help="Most images to use.", rich_help_panel="Calibration")]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Images at a time.", rich_help_panel="Calibration")]
ObserverOption = Annotated[
    RangeMethod,
    typer.Option(
        help="Range of what was observed: least squared error (histogram, or mse with rounding), all of it, or "
        "99.99 % at either end.",
        rich_help_panel="Calibration",
    ),
]
EngineOption = Annotated[Engine, typer.Option(help="Quantized engine; phones have qnnpack.", rich_help_panel="Int8")]
WeightSchemeOption = Annotated[
    WeightScheme, typer.Option(help="One scale an output channel, or one a layer.", rich_help_panel="Int8")
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
SeedOption = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything drawn at random.", rich_help_panel="Calibration")
]
ArithmeticOption = Annotated[
    Arithmetic,
    typer.Option(help="FloatFunctional, or each operator in dequantize/quantize (slow).", rich_help_panel="Int8"),
]
PassOption = Annotated[
    list[str] | None,
    typer.Option("--pass", metavar="MODULE:CLASS", help="A pass of your own; repeatable.", rich_help_panel="Passes"),
]
SkipOption = Annotated[
    list[str] | None, typer.Option(metavar="PASS", help="Do not run this pass; repeatable.", rich_help_panel="Passes")
]
UntilOption = Annotated[
    str | None, typer.Option(metavar="PASS", help="Stop rewriting after this pass.", rich_help_panel="Passes")
]
TracebackOption = Annotated[
    bool, typer.Option("--traceback", help="Show the traceback of an error.", rich_help_panel="Output")
]


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
    example: ExampleOption = None,
    calib: CalibOption = None,
    calib_count: CalibCountOption = 100,
    batch_size: BatchSizeOption = 10,
    seed: SeedOption = 0,
    observer: ObserverOption = RangeMethod.histogram,
    engine: EngineOption = Engine.qnnpack,
    arithmetic: ArithmeticOption = Arithmetic.functional,
    weight_scheme: WeightSchemeOption = WeightScheme.per_channel,
    keep_float: KeepFloatOption = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Keep the fewest, cheapest layers in float until top-1 agreement with float (with --eval or --labels: "
            "accuracy) falls by at most so many percentage points.",
            rich_help_panel="Budget",
        ),
    ] = None,
    eval_: Annotated[
        Path | None,
        typer.Option(
            "--eval",
            metavar="DIR",
            help="Photographs to tell accuracy by, in a folder for each class; its index is the number all folders' "
            "names begin with, or else its place in their order.",
            rich_help_panel="Budget",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The classes of photographs, a line file,index each; the files are in --eval, or beside FILE.",
            rich_help_panel="Budget",
        ),
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most images to judge by, 200 unless said; they are not used for calibration.",
            rich_help_panel="Budget",
        ),
    ] = None,
    min_sqnr: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="Least int8 SQNR against float; 10 unless said, 3 with random weights.",
            rich_help_panel="Int8",
        ),
    ] = None,
    pass_: PassOption = None,
    skip: SkipOption = None,
    method: Annotated[
        Method,
        typer.Option(
            help="How the int8 module becomes TorchScript; auto traces what cannot be scripted.",
            rich_help_panel="Lowering",
        ),
    ] = Method.auto,
    block: Annotated[
        list[MobilePass] | None,
        typer.Option(
            metavar="MOBILE_PASS",
            help="Pass of optimize_for_mobile not to run; repeatable: " + ", ".join(p.value for p in MobilePass),
            rich_help_panel="Lowering",
        ),
    ] = None,
    java: Annotated[
        bool, typer.Option("--java", help="No prepacked:: operators, which Java lacks.", rich_help_panel="Lowering")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT.ptl",
            help="Artifact to write; MODEL.ptl unless said.",
            rich_help_panel="Output",
        ),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.json",
            help="Choices of an earlier conversion (--save-config); options on the command line go before.",
            rich_help_panel="Output",
        ),
    ] = None,
    save_config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Write the choices that give this result again, layers kept for --max-drop included.",
            rich_help_panel="Output",
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Print diffs, ledger, timings: everything.", rich_help_panel="Output")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as JSON.", rich_help_panel="Output")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop after rewriting; write nothing.", rich_help_panel="Output")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.", rich_help_panel="Output")] = False,
    traceback_: TracebackOption = False,
) -> None:
    """Convert a model to a verified int8 .ptl."""
    from fxconv.config_file import chosen, reproducing, text

    choices = {
        "engine": engine,
        "arithmetic": arithmetic,
        "weight_scheme": weight_scheme,
        "observer": observer,
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
    }
    config = chosen(config_file, choices, _given(context))
    from fxconv.paths import check_distinct, check_target, default_output, read_files

    writes = {"--json": json, "--save-config": save_config}
    for option, path in {"-o": output, **writes}.items():
        check_target(path, option)
    reads = read_files(model, weights, calib, example) | {"--config": config_file, "--eval": eval_, "--labels": labels}
    check_distinct({"-o": output, **writes}, reads)
    if dry_run:
        _show_rewriting(model, weights, unsafe_load, input_size, example, config, json, "would rewrite")
        return
    from fxconv.environment import check

    check(config.engine.value)
    target = output or default_output(model)
    check_distinct({"the artifact": target, **writes}, reads)
    from fxconv import screen

    with screen.progress(quiet) as progress:
        progress("loading", 0, 1)
        from fxconv.conversion import convert as run
        from fxconv.source import open_source

        source = open_source(model, weights, input_size, calib, example, config, unsafe_load, eval_, labels)
        for warning in source.warnings:
            screen.warn(warning)
        conversion = run(
            source.loaded.module,
            source.data,
            source.example,
            source.config,
            held_out=source.labelled,
            info=source.info,
            output=target,
            warnings=source.warnings,
            progress=progress,
        )
    try:
        done = f"; {target} is written and verified" if conversion.verified else ""
        if json is not None:  # before anything is printed: whoever reads the output may stop reading
            _write_json(json, conversion.report.json_text(), done)
        if save_config is not None and conversion.verified:
            _write_json(save_config, text(reproducing(conversion.config)), done, "--save-config")
    finally:
        conversion.report.print(screen.console(), full=report)
        if not report:
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
    example: ExampleOption = None,
    seed: SeedOption = 0,
    arithmetic: ArithmeticOption = Arithmetic.functional,
    pass_: PassOption = None,
    skip: SkipOption = None,
    until: UntilOption = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the passes as JSON.", rich_help_panel="Output")
    ] = None,
    traceback_: TracebackOption = False,
) -> None:
    """Rewrite only, and print the diffs; nothing is calibrated or written."""
    config = Config(arithmetic=arithmetic, seed=seed, passes=tuple(pass_ or ()), skip=tuple(skip or ()), until=until)
    _show_rewriting(model, weights, unsafe_load, input_size, example, config, json, "rewrote")


@app.command()
def sensitivity(
    model: ModelArgument,
    weights: WeightsOption = "auto",
    unsafe_load: UnsafeLoadOption = False,
    input_size: InputSizeOption = None,
    example: ExampleOption = None,
    calib: CalibOption = None,
    calib_count: CalibCountOption = 100,
    batch_size: BatchSizeOption = 10,
    seed: SeedOption = 0,
    observer: ObserverOption = RangeMethod.histogram,
    held_out: Annotated[
        int,
        typer.Option(
            min=1,
            help="Most images to measure on; they are not used for calibration, if there are enough.",
            rich_help_panel="Calibration",
        ),
    ] = 16,
    engine: EngineOption = Engine.qnnpack,
    arithmetic: ArithmeticOption = Arithmetic.functional,
    weight_scheme: WeightSchemeOption = WeightScheme.per_channel,
    keep_float: KeepFloatOption = None,
    pass_: PassOption = None,
    skip: SkipOption = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Show only so many layers, the worst.", rich_help_panel="Output")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all of it as JSON.", rich_help_panel="Output")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.", rich_help_panel="Output")] = False,
    traceback_: TracebackOption = False,
) -> None:
    """What quantizing each layer alone costs, the worst first; nothing is converted."""
    config = Config(
        engine=engine,
        arithmetic=arithmetic,
        weight_scheme=weight_scheme,
        observer=observer,
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
        from fxconv.report.terminal import print_sensitivity
        from fxconv.sensitivity import sensitivity as run
        from fxconv.source import open_source

        source = open_source(model, weights, input_size, calib, example, config, unsafe_load)
        result = run(
            source.loaded.module,
            source.data,
            source.config,
            info=source.info,
            warnings=source.warnings,
            progress=progress,
        )
    try:
        if json is not None:
            _write_json(json, result.json_text())
    finally:
        for warning in result.warnings:
            screen.warn(warning)
        print_sensitivity(result, screen.console(), top)


def _show_rewriting(
    model: str,
    weights: str,
    unsafe_load: bool,
    input_size: str | None,
    example: Path | None,
    config: Config,
    json: Path | None,
    tense: str,
) -> None:
    from fxconv.environment import check
    from fxconv.paths import check_target

    check_target(json, "--json")
    check(config.engine.value)
    from fxconv.dry_run import rewrite_only
    from fxconv.report.terminal import print_dry_run
    from fxconv.screen import console

    with stage(lambda: "rewriting"):
        result = rewrite_only(model, weights, input_size, config, unsafe_load, example)
    try:
        if json is not None:
            _write_json(json, result.json_text())
    finally:
        print_dry_run(result, console(), tense)
    if not result.parity.passed:
        raise ConversionError(f"{model}: the rewritten model differs from the original: {result.parity.problem}")


def _given(context: typer.Context) -> Callable[[str], bool]:
    """Whether the user set a field of `Config` on the command line."""

    def given(field: str) -> bool:
        source = context.get_parameter_source({"passes": "pass_"}.get(field, field))
        return source is not None and source.name == "COMMANDLINE"

    return given


def _write_json(path: Path, text: str, done: str = "", option: str = "--json") -> None:
    """Write a report or choices. When that fails `done` says what was written all the same."""
    from fxconv.staging import write_whole

    try:
        write_whole(path, text, option)
    except UserError as error:
        raise UserError(f"{error}{done}") from error


@app.command()
def models() -> None:
    """What can be named."""
    from fxconv.models import ALIASES, names

    for name in names():
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
