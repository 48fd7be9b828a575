"""`fxconv study`: how much calibration a model needs, and of what."""

from __future__ import annotations

from pathlib import Path

from fxconv.cli import startup
from fxconv.cli.options.accuracy import MetricOptions
from fxconv.cli.options.analysis import DrawOptions
from fxconv.cli.options.calibration import CalibrationOptions
from fxconv.cli.options.groups import choices, takes_groups
from fxconv.cli.options.int8 import Int8Options
from fxconv.cli.options.model import LoadingOptions, ModelArgument
from fxconv.cli.options.output import MeasuredOutput
from fxconv.cli.options.passes import PassOptions
from fxconv.cli.options.preprocessing import PreprocessingOptions
from fxconv.cli.results import write_and_show
from fxconv.config import Config


@takes_groups
def study(
    *,
    model: ModelArgument,
    draws: DrawOptions,
    loading: LoadingOptions,
    calibration: CalibrationOptions,
    pixels: PreprocessingOptions,
    judging: MetricOptions,
    int8: Int8Options,
    passes: PassOptions,
    output: MeasuredOutput,
) -> None:
    """How much calibration a model needs, and of what.

    Nothing is converted.

    Examples:
        # Photographs and generated images, 1, 10 and 100 of each, drawn three times
        fxconv study resnet18 --sources photographs/,synthetic
        # Other numbers of images
        fxconv study net.py:Net --sources photographs/ --counts 8,32,128
    """
    config = Config(**choices(loading, draws, calibration, pixels, judging, int8, passes))
    judging.check()
    from fxconv.cli.early_checks import check_choices, check_given, check_loading
    from fxconv.cli.paths import check_distinct, check_target, code_file
    from fxconv.data.study_lists import check_sources, parse_counts, parse_sources
    from fxconv.environment import check

    check_target(output.json, "--json")
    reads = {"the model": code_file(model), "--weights": Path(loading.weights)}
    folders: dict[str, Path | None] = {
        f"--sources {name}": Path(name) for name in draws.sources.split(",") if name.strip()
    }
    code = {f"--pass {spec}": code_file(spec) for spec in config.passes}
    code |= {"--metric": code_file(judging.metric) if judging.metric is not None else None}
    folders |= {"--eval": judging.evaluation, "--labels": judging.labels}
    check_distinct({"--json": output.json}, reads | folders | code, judging.lists)
    check_loading(model, loading)
    check_choices(config)
    numbers, names = parse_counts(draws.counts), parse_sources(draws.sources)
    check_sources(names)
    check_given(None, judging.evaluation, judging.lists, has_metric=judging.metric is not None)
    check(config.engine.value)
    from fxconv.cli import terminal

    with terminal.progress(output.quiet) as progress:
        progress("loading", 0, 1)
        from fxconv.analysis.study import study as run
        from fxconv.data.source import open_study
        from fxconv.measures.metric import Metric
        from fxconv.quantization.passes import selected
        from fxconv.report import json as report_json
        from fxconv.report.accuracy import print_study

        selected(config)  # a misspelt pass is found here, not after minutes of work
        metric = Metric.at(judging.metric) if judging.metric is not None else None
        source, drawn, judged = open_study(
            model,
            loading.weights,
            loading.input_size,
            names,
            draws.held_out,
            config,
            loading.unsafe_load,
            loading.heads,
            judging.evaluation,
            judging.labels,
            weights_key=loading.weights_key,
            weights_prefix=loading.weights_prefix,
        )
        startup.keep_what_is_imported()
        result = run(
            source.loaded.module,
            drawn,
            judged,
            numbers,
            draws.seeds,
            source.config,
            info=source.info,
            warnings=source.warnings,
            progress=progress,
            metric=metric,
        )
    write_and_show(
        result, report_json.text(report_json.study(result)), output.json, lambda console: print_study(result, console)
    )
