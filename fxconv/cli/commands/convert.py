"""`fxconv convert`: a model in, a verified int8 artifact out."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import typer

from fxconv.cli import startup
from fxconv.cli.options.accuracy import EvalOption, JudgedOption, LabelsOption, MaxDropOption, MinSqnrOption
from fxconv.cli.options.calibration import BatchSizeOption, CalibCountOption, CalibOption, ObserverOption, SeedOption
from fxconv.cli.options.int8 import (
    ArithmeticOption,
    EngineOption,
    KeepFloatOption,
    ModeOption,
    RecipeOption,
    WeightSchemeOption,
)
from fxconv.cli.options.lowering import (
    BlockOption,
    GoldenOption,
    JavaOption,
    MethodOption,
    NormalizeOption,
    OpListOption,
    PeakCountOption,
    PeakThresholdOption,
    PostprocessOption,
    RuntimeOption,
    SigmoidOption,
    TiesOption,
)
from fxconv.cli.options.model import (
    ExampleOption,
    HeadsOption,
    InputSizeOption,
    ModelArgument,
    UnsafeLoadOption,
    WeightsOption,
)
from fxconv.cli.options.output import (
    ConfigOption,
    DryRunOption,
    FullOption,
    OutputOption,
    QuietOption,
    ReportHtmlOption,
    ReportJsonOption,
    ReportOption,
    SaveConfigOption,
    TracebackOption,
)
from fxconv.cli.options.passes import PassOption, SkipOption
from fxconv.cli.options.training import (
    CheckpointOption,
    EpochsOption,
    LearnFromOption,
    LearningRateOption,
    TrainCountOption,
    TrainOption,
)
from fxconv.cli.results import write_report
from fxconv.cli.rewriting import Shown, show_rewriting
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
from fxconv.errors import ConversionError, UserError

# Options that say nothing without a training.
_OF_TRAINING = ("train", "train_count", "learn_from", "epochs", "learning_rate", "checkpoint")


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
    golden: GoldenOption = True,
    normalize_in_graph: NormalizeOption = False,
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
    runtime: RuntimeOption = None,
    postprocess: PostprocessOption = None,
    peak_threshold: PeakThresholdOption = 0.3,
    peak_count: PeakCountOption = 100,
    ties: TiesOption = Ties.index,
    sigmoid: SigmoidOption = Sigmoid.first,
    output: OutputOption = None,
    config_file: ConfigOption = None,
    save_config: SaveConfigOption = None,
    op_list: OpListOption = None,
    report: ReportOption = False,
    full: FullOption = False,
    html: ReportHtmlOption = None,
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
        "runtime": runtime,
        "keep_float": tuple(keep_float or ()),
        "max_drop": max_drop,
        "held_out": held_out,
        "golden": golden,
        "normalize_in_graph": normalize_in_graph,
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
    from fxconv.cli.paths import check_distinct, check_target, default_output, read_files
    from fxconv.data.arrays import split_name

    writes: dict[str, Path | None] = {"--html": html, "--json": json, "--save-config": save_config}
    writes["--op-list"] = op_list
    for option, path in {"-o": output, **writes}.items():
        check_target(path, option)
    if config.mode is not Mode.qat and (given := [name for name in _OF_TRAINING if _given(context)(name)]):
        raise UserError(f"--{given[0].replace('_', '-')} goes with --mode qat; leave it out, or train")
    if train is None and _given(context)("train_count"):
        raise UserError("--train-count goes with --train; leave it out, or name images to train on")
    from fxconv.data.class_names import sorted_files

    listed, named = sorted_files(labels or (), eval_)
    if config.mode is Mode.dynamic and (eval_ is not None or listed is not None):
        raise UserError("--eval and --labels go with --mode static or qat, not with dynamic: leave them out")
    check_target(checkpoint, "--checkpoint")
    reads = read_files(model, weights, calib, example) | {"--config": config_file, "--eval": eval_, "--labels": listed}
    reads |= {"--train": train and split_name(train)[0], "the names of the classes": named}
    writes["--checkpoint"] = checkpoint
    check_distinct({"-o": output, **writes}, reads)
    if dry_run:
        for option, path in (("--html", html), ("--op-list", op_list)):
            if path is not None:
                raise UserError(f"{option} shows a conversion, and --dry-run stops before it; leave one of them out")
        shown = Shown("would rewrite", full)
        show_rewriting(model, weights, unsafe_load, input_size, heads, example, config, json, shown)
        return
    from fxconv.environment import check

    check(config.engine.value)
    target = output or default_output(model)
    check_distinct({"the artifact": target, **writes}, reads)
    from fxconv.cli import terminal

    with terminal.progress(quiet) as progress:
        progress("loading", 0, 1)
        from fxconv.conversion import convert as run
        from fxconv.data.source import open_source, open_training
        from fxconv.quantization.passes import selected

        imported = time.perf_counter()
        selected(config)  # a misspelt pass is found here, not after minutes of work
        source = open_source(
            model, weights, input_size, calib, example, config, unsafe_load, eval_, listed, heads, named
        )
        training = open_training(source, train, train_count) if train is not None else None
        for warning in source.warnings:
            terminal.warn(warning)
        startup.keep_what_is_imported()
        before = {"importing": context.obj + imported - started, "loading": time.perf_counter() - imported}
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
            labels=source.class_names,
            preprocessing=source.preprocessing,
            layers=html is not None,
        )
    try:
        done = f"; {target} is written and verified" if conversion.verified else ""
        if json is not None:  # before anything is printed: whoever reads the output may stop reading
            write_report(json, conversion.report.json_text(), done)
        if html is not None:
            typed = shlex.join(["fxconv", *sys.argv[1:]])
            write_report(html, conversion.report.html_text(typed), done, "--html")
        if op_list is not None and conversion.verified:
            from fxconv.inspection import inspect
            from fxconv.targets.mobile.releases import op_list as list_of

            write_report(op_list, list_of(inspect(target)), done, "--op-list")
        if save_config is not None and conversion.verified:
            write_report(
                save_config, text(reproducing(conversion.config, conversion.recipe.steps)), done, "--save-config"
            )
    finally:
        conversion.report.print(terminal.console(), full=report or full, unfolded=full)
        if not (report or full):
            for warning in conversion.warnings[len(source.warnings) :]:
                terminal.warn(warning)
    if not conversion.verified:
        kept = "; the file there is from before" if target.exists() else ""
        raise ConversionError(f"{model}: {conversion.verdict}; {target} was not written{kept}; {conversion.cure}")


def _given(context: typer.Context) -> Callable[[str], bool]:
    """Whether the user set a field of `Config` on the command line."""

    def given(field: str) -> bool:
        source = context.get_parameter_source({"passes": "pass_"}.get(field, field))
        return source is not None and source.name == "COMMANDLINE"

    return given
