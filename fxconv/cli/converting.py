"""The steps of a conversion from the command line: paths are checked, it is run, written and printed."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fxconv.cli import startup
from fxconv.cli.input_digests import named_inputs, otherwise
from fxconv.cli.options.output import ConversionOutput
from fxconv.cli.request import Files, Request
from fxconv.cli.results import write_report
from fxconv.cli.rewriting import Shown, show_rewriting
from fxconv.config import Mode, Recipe
from fxconv.errors import ConversionError, UserError
from fxconv.progress import conversion_phases

if TYPE_CHECKING:
    from fxconv.calibration_file import SavedCalibration
    from fxconv.config_inputs import NamedInputs
    from fxconv.conversion import Conversion
    from fxconv.data.source import Source
    from fxconv.progress import Progress


def check_files(request: Request, given: Callable[[str], bool]) -> Files:
    """The files, each of which can be written, and is no other's. Raises `UserError`, for options that go unheeded too.

    `given` says whether an option was given on the command line.
    """
    from fxconv.cli.early_checks import check_choices, check_given, check_loading
    from fxconv.cli.paths import check_target, code_file, read_files
    from fxconv.config import OWN_CHOICES, not_written
    from fxconv.data.arrays import split_name
    from fxconv.data.class_names import sorted_files
    from fxconv.targets.executorch.installed import installed
    from fxconv.targets.suffixes import check_suffixes

    output, accuracy, training = request.output, request.accuracy, request.training
    artifacts = output.output or []
    for path in artifacts:
        check_target(path, "-o")
    for option, place in output.reports.items():
        check_target(place, option)
    training.check(request.config.mode, given)
    labels, names = sorted_files(accuracy.labels or (), accuracy.evaluation)
    if request.config.mode is Mode.dynamic and (accuracy.evaluation is not None or labels is not None):
        raise UserError("--eval and --labels go with --mode static or qat, not with dynamic: leave them out")
    check_target(training.checkpoint, "--checkpoint")
    loading, images, passes = request.loading, request.images, request.config.passes
    # a saved calibration needs no function that preprocesses
    config = request.config if request.kept is None else replace(request.config, preprocess=None)
    code = (passes, config.preprocess)
    reads = read_files(request.model, loading.weights, images.calib, loading.example, *code) | {
        "--config": output.config_file,
        "--calibration": output.calibration,
        "--eval": accuracy.evaluation,
        "--metric": code_file(request.config.metric) if request.config.metric is not None else None,
        "--labels": labels,
        "--train": training.train and split_name(training.train)[0],
        "the names of the classes": names,
    }
    check_loading(request.model, loading, loading.example)
    check_choices(config)
    has_metric = request.config.metric is not None
    check_given(images.calib, accuracy.evaluation, accuracy.labels or (), training.train, has_metric)
    files = Files(reads, {**output.reports, "--checkpoint": training.checkpoint}, labels, names)
    files.check_distinct("-o", artifacts)
    kinds = check_suffixes(artifacts, "-o") or _saved_targets(request)
    for target, fields in OWN_CHOICES.items():
        own = (*fields, "op_list") if target == "mobile" else fields
        if target not in kinds and (field := next((one for one in own if given(one)), None)):
            raise UserError(not_written(f"--{field.replace('_', '-')}", target))
    config.check_targets(kinds)
    if "executorch" in kinds:
        installed()
    return replace(files, targets=kinds)


def _saved_targets(request: Request) -> tuple[str, ...]:
    """The kinds of files that are written where none is named: those of the choices that were saved, or the first."""
    from fxconv.targets.suffixes import FIRST

    return request.saved.targets if request.saved is not None and request.kept is None else FIRST


def show_dry_run(request: Request) -> None:
    """Rewrite and print the changes; the rest of a conversion is left out."""
    output = request.output
    for option, path in (("--html", output.html), ("--op-list", output.op_list)):
        if path is not None:
            raise UserError(f"{option} shows a conversion, and --dry-run stops before it; leave one of them out")
    shown = Shown("would rewrite", output.full)
    show_rewriting(request.model, request.loading, request.config, output.json, shown)


def check_artifacts(request: Request, files: Files) -> list[Path]:
    """Where the artifacts go. Raises `UserError` where one cannot go there, or there is no such engine."""
    from fxconv.cli.paths import default_output
    from fxconv.config import TARGETS
    from fxconv.environment import check

    check(request.config.engine.value)
    named = request.output.output
    artifacts = named or [default_output(request.model, TARGETS[kind]) for kind in files.targets]
    files.check_distinct("the artifact", artifacts)
    return artifacts


def phases(request: Request, files: Files) -> tuple[str, ...]:
    """The steps of the conversion, in the order in which they come."""
    config = request.config
    return conversion_phases(
        is_dynamic=config.mode is Mode.dynamic,
        is_tried=config.recipe != (Recipe.none,),
        is_trained=config.mode is Mode.qat,
        is_judged=config.max_drop is not None or request.accuracy.evaluation is not None or files.labels is not None,
    )


def run(
    request: Request, files: Files, artifacts: Sequence[Path], began: float, progress: Progress
) -> tuple[Conversion, tuple[str, ...], NamedInputs | None]:
    """The conversion, its files written when all are verified, and the warnings of loading, which are printed already.

    Also what it was given by name, where that is to be saved.

    `began` is when the process began to import, as `time.perf_counter` has it.
    """
    progress("loading", 0, 1)
    from fxconv.cli import terminal
    from fxconv.conversion import convert
    from fxconv.data.source import open_source, open_training
    from fxconv.measures.metric import Metric
    from fxconv.quantization.passes import selected

    imported = time.perf_counter()
    selected(request.config)  # a misspelt pass is found here, not after minutes of work
    metric = Metric.at(request.config.metric) if request.config.metric is not None else None
    loading, training = request.loading, request.training
    source = (
        _opened_again(request, request.kept, files)
        if request.kept is not None
        else open_source(
            request.model,
            loading.weights,
            loading.input_size,
            request.images.calib,
            loading.example,
            request.config,
            loading.unsafe_load,
            request.accuracy.evaluation,
            files.labels,
            loading.heads,
            files.names,
            weights_key=loading.weights_key,
            weights_prefix=loading.weights_prefix,
        )
    )
    files.check_unimported(artifacts)
    lessons = open_training(source, training.train, training.train_count) if training.train is not None else None
    named = named_inputs(request, files, source, lessons)
    for warning in (*source.warnings, *(otherwise(request, named) if named is not None else ())):
        terminal.warn(warning)
    startup.keep_what_is_imported()
    conversion = convert(
        source.loaded.module,
        source.data,
        source.example,
        source.config,
        held_out=source.labelled,
        training=lessons,
        checkpoint=training.checkpoint,
        info=source.info,
        output=artifacts,
        warnings=source.warnings,
        progress=progress,
        before={"importing": imported - began, "loading": time.perf_counter() - imported},
        labels=source.class_names,
        preprocessing=source.preprocessing,
        layers=request.output.html is not None,
        saved=request.kept,
        metric=metric,
    )
    return conversion, source.warnings, named


def _opened_again(request: Request, kept: SavedCalibration, files: Files) -> Source:
    """The source of a conversion whose calibration was saved."""
    from fxconv.data.class_names import read_names
    from fxconv.data.source import open_again

    loading = request.loading
    return open_again(
        request.model,
        loading.weights,
        loading.input_size,
        kept.images,
        kept.example,
        kept.state,
        request.config,
        loading.unsafe_load,
        loading.heads,
        read_names(files.names) if files.names is not None else kept.labels,
        loading.weights_key,
        loading.weights_prefix,
    )


def write_reports(
    output: ConversionOutput, conversion: Conversion, artifacts: Sequence[Path], named: NamedInputs | None = None
) -> None:
    """Write what was asked for beside the artifacts, and before anything is printed: its reader may stop reading."""
    are = "is" if len(artifacts) == 1 else "are"
    done = f"; {_listed(artifacts)} {are} written and verified" if conversion.verified else ""
    if output.json is not None:
        write_report(output.json, conversion.report.json_text(), done)
    if output.html is not None:
        typed = shlex.join(["fxconv", *sys.argv[1:]])
        write_report(output.html, conversion.report.html_text(typed), done, "--html")
    if output.op_list is not None and conversion.verified:
        from fxconv.inspection import inspect
        from fxconv.targets.mobile.releases import op_list

        mobile = next(path for path in artifacts if path.suffix.lower() == ".ptl")
        write_report(output.op_list, op_list(inspect(mobile)), done, "--op-list")
    if output.save_config is not None and conversion.verified:
        from fxconv.config_file import reproducing, text

        choices = text(reproducing(conversion.config, conversion.recipe.steps), named, output.save_config)
        write_report(output.save_config, choices, done, "--save-config")

    if output.save_calibration is not None and conversion.verified:
        conversion.save_calibration(output.save_calibration, named)


def show(output: ConversionOutput, conversion: Conversion, warned: tuple[str, ...]) -> None:
    """Print the report, and the warnings that it leaves out; those in `warned` are printed already."""
    from fxconv.cli import terminal

    conversion.report.print(terminal.console(), full=output.report or output.full, unfolded=output.full)
    if not (output.report or output.full):
        for warning in conversion.warnings[len(warned) :]:
            terminal.warn(warning)


def check_verified(model: str, conversion: Conversion, artifacts: Sequence[Path]) -> None:
    """Raise `ConversionError` for a conversion that was not verified, and whose artifacts were not written."""
    if not conversion.verified:
        there = [path for path in artifacts if path.exists()]
        kept = f"; {'the file there is' if len(artifacts) == 1 else f'{_listed(there)}:'} from before" if there else ""
        was = "was" if len(artifacts) == 1 else "were"
        raise ConversionError(
            f"{model}: {conversion.verdict}; {_listed(artifacts)} {was} not written{kept}; {conversion.cure}"
        )


def _listed(paths: Sequence[Path]) -> str:
    return " and ".join(map(str, paths))
