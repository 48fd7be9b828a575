"""The steps of a conversion from the command line: paths are checked, it is run, written and printed."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fxconv.cli import startup
from fxconv.cli.input_digests import named_inputs, otherwise
from fxconv.cli.options.output import ConversionOutput
from fxconv.cli.request import Request
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


@dataclass(frozen=True)
class Files:
    """What a conversion reads and what it writes beside the artifact, by the options that name it.

    `labels` are the list of photographs and classes and `names` that of the classes' names, both given by --labels.
    """

    reads: dict[str, Path | None]
    writes: dict[str, Path | None]
    labels: Path | None
    names: Path | None

    def check_distinct(self, option: str, artifact: Path | None) -> None:
        """Raise `UserError` where one file would be written over another; `option` names the artifact."""
        from fxconv.cli.paths import check_distinct

        lists = (self.labels,) if self.labels is not None else ()
        check_distinct({option: artifact, **self.writes}, self.reads, lists)

    def check_unimported(self, artifact: Path) -> None:
        """Raise `UserError` where a file would be written over a module that the model or a pass has imported."""
        from fxconv.data.staged_file import check_place

        for option, path in {"the artifact": artifact, **self.writes}.items():
            if path is not None:
                check_place(path, option)


def check_files(request: Request, given: Callable[[str], bool]) -> Files:
    """The files, each of which can be written, and is no other's. Raises `UserError`, for options that go unheeded too.

    `given` says whether an option was given on the command line.
    """
    from fxconv.cli.early_checks import check_choices, check_given, check_loading
    from fxconv.cli.paths import check_target, code_file, read_files
    from fxconv.data.arrays import split_name
    from fxconv.data.class_names import sorted_files
    from fxconv.targets.suffixes import check_suffix

    output, accuracy, training = request.output, request.accuracy, request.training
    for option, path in {"-o": output.output, **output.reports}.items():
        check_target(path, option)
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
    files.check_distinct("-o", output.output)
    check_suffix(output.output, "-o")
    return files


def show_dry_run(request: Request) -> None:
    """Rewrite and print the changes; the rest of a conversion is left out."""
    output = request.output
    for option, path in (("--html", output.html), ("--op-list", output.op_list)):
        if path is not None:
            raise UserError(f"{option} shows a conversion, and --dry-run stops before it; leave one of them out")
    shown = Shown("would rewrite", output.full)
    show_rewriting(request.model, request.loading, request.config, output.json, shown)


def check_artifact(request: Request, files: Files) -> Path:
    """Where the artifact goes. Raises `UserError` where it cannot go there, or there is no such engine."""
    from fxconv.cli.paths import default_output
    from fxconv.environment import check

    check(request.config.engine.value)
    artifact = request.output.output or default_output(request.model)
    files.check_distinct("the artifact", artifact)
    return artifact


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
    request: Request, files: Files, artifact: Path, began: float, progress: Progress
) -> tuple[Conversion, tuple[str, ...], NamedInputs | None]:
    """The conversion, written when it is verified, and the warnings of loading, which are printed already.

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
    files.check_unimported(artifact)
    lessons = open_training(source, training.train, training.train_count) if training.train is not None else None
    named = named_inputs(request, files.reads, files.names, source, lessons)
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
        output=artifact,
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
    output: ConversionOutput, conversion: Conversion, artifact: Path, named: NamedInputs | None = None
) -> None:
    """Write what was asked for beside the artifact, and before anything is printed: its reader may stop reading."""
    done = f"; {artifact} is written and verified" if conversion.verified else ""
    if output.json is not None:
        write_report(output.json, conversion.report.json_text(), done)
    if output.html is not None:
        typed = shlex.join(["fxconv", *sys.argv[1:]])
        write_report(output.html, conversion.report.html_text(typed), done, "--html")
    if output.op_list is not None and conversion.verified:
        from fxconv.inspection import inspect
        from fxconv.targets.mobile.releases import op_list

        write_report(output.op_list, op_list(inspect(artifact)), done, "--op-list")
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


def check_verified(model: str, conversion: Conversion, artifact: Path) -> None:
    """Raise `ConversionError` for a conversion that was not verified, and whose artifact was not written."""
    if not conversion.verified:
        kept = "; the file there is from before" if artifact.exists() else ""
        raise ConversionError(f"{model}: {conversion.verdict}; {artifact} was not written{kept}; {conversion.cure}")
