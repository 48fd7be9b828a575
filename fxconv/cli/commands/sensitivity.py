"""`fxconv sensitivity`: what quantizing each layer alone costs."""

from __future__ import annotations

from fxconv.cli import startup
from fxconv.cli.options.accuracy import MetricOptions
from fxconv.cli.options.analysis import MeasuredOption, TopOption
from fxconv.cli.options.calibration import CalibrationImages, CalibrationOptions
from fxconv.cli.options.groups import choices, takes_groups
from fxconv.cli.options.int8 import Int8Options
from fxconv.cli.options.model import ModelArgument, TracingOptions
from fxconv.cli.options.output import MeasuredOutput
from fxconv.cli.options.passes import PassOptions
from fxconv.cli.options.preprocessing import PreprocessingOptions
from fxconv.cli.results import write_and_show
from fxconv.config import Config


@takes_groups
def sensitivity(
    *,
    model: ModelArgument,
    loading: TracingOptions,
    images: CalibrationImages,
    calibration: CalibrationOptions,
    pixels: PreprocessingOptions,
    held_out: MeasuredOption = 16,
    judging: MetricOptions,
    int8: Int8Options,
    passes: PassOptions,
    top: TopOption = None,
    output: MeasuredOutput,
) -> None:
    """What quantizing each layer alone costs, the worst first.

    Nothing is converted.

    Examples:
        # The ten layers that int8 harms most
        fxconv sensitivity resnet18 --calib photographs/ --top 10
        # All of them, to be read by a program
        fxconv sensitivity net.py:Net --weights net.pth --json layers.json
    """
    config = Config(**choices(loading, images, calibration, pixels, judging, int8, passes, held_out=held_out))
    judging.check()
    from fxconv.cli.early_checks import check_choices, check_given, check_loading
    from fxconv.cli.paths import check_distinct, check_target, code_file, read_files
    from fxconv.environment import check

    check_target(output.json, "--json")
    reads = read_files(model, loading.weights, images.calib, loading.example, config.passes, config.preprocess)
    reads |= {"--metric": code_file(judging.metric) if judging.metric is not None else None}
    reads |= {"--eval": judging.evaluation, "--labels": judging.labels}
    check_distinct({"--json": output.json}, reads, judging.lists)
    check_loading(model, loading, loading.example)
    check_choices(config)
    check_given(images.calib, judging.evaluation, judging.lists, has_metric=judging.metric is not None)
    check(config.engine.value)
    from fxconv.cli import terminal

    phases = ("loading", "rewriting", "calibration", "sensitivity")
    with terminal.progress(output.quiet, phases) as progress:
        progress("loading", 0, 1)
        from fxconv.analysis.sensitivity import sensitivity as run
        from fxconv.data.source import open_source
        from fxconv.measures.metric import Metric
        from fxconv.quantization.passes import selected
        from fxconv.report import json as report_json
        from fxconv.report.accuracy import print_sensitivity

        selected(config)  # a misspelt pass is found here, not after minutes of work
        metric = Metric.at(judging.metric) if judging.metric is not None else None
        source = open_source(
            model,
            loading.weights,
            loading.input_size,
            images.calib,
            loading.example,
            config,
            loading.unsafe_load,
            judging.evaluation,
            judging.labels,
            heads=loading.heads,
            weights_key=loading.weights_key,
            weights_prefix=loading.weights_prefix,
        )
        startup.keep_what_is_imported()
        result = run(
            source.loaded.module,
            source.data,
            source.config,
            held_out=source.labelled,
            metric=metric,
            info=source.info,
            warnings=source.warnings,
            progress=progress,
        )
    write_and_show(
        result,
        report_json.text(report_json.sensitivity(result)),
        output.json,
        lambda console: print_sensitivity(result, console, top),
    )
