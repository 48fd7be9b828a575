"""A rewriting that is shown and not converted, as `diff` and `convert --dry-run` do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from fxconv.cli.options.model import TracingOptions
from fxconv.cli.options.output import Format
from fxconv.cli.results import write_report
from fxconv.config import Config
from fxconv.errors import ConversionError, stage


@dataclass(frozen=True)
class Shown:
    """How a rewriting is told: in which words, whether unfolded, of which pass alone, and in which format."""

    tense: str
    full: bool = False
    only: str | None = None
    format: Format = Format.text


def show_rewriting(
    model: str,
    loading: TracingOptions,
    config: Config,
    json: Path | None,
    shown: Shown,
    emit: Path | None = None,
) -> None:
    """Rewrite, write what is to be written, and print the changes, or what was written of the model."""
    from fxconv.cli.early_checks import check_choices, check_loading
    from fxconv.cli.paths import check_distinct, check_target, read_files
    from fxconv.environment import check

    check_target(json, "--json")
    check_target(emit, "--emit")
    reads = read_files(model, loading.weights, None, loading.example, config.passes)
    check_distinct({"--json": json, "--emit": emit}, reads)
    check_loading(model, loading, loading.example)
    check_choices(config, shown.only)
    if shown.only is not None:
        from fxconv.quantization.passes import check_selected

        check_selected(shown.only, config)
    check(config.engine.value)
    from fxconv.analysis.dry_run import rewrite_only
    from fxconv.analysis.emitted_file import check_overwrites
    from fxconv.cli.terminal import console
    from fxconv.inspection.printable import visible
    from fxconv.report import json as report_json
    from fxconv.report.pull_request import markdown
    from fxconv.report.terminal import print_dry_run, print_emitted

    check_overwrites(emit)
    with stage(lambda: "rewriting"):
        result = rewrite_only(
            model,
            loading.weights,
            loading.input_size,
            config,
            loading.unsafe_load,
            loading.example,
            loading.heads,
            emit is not None,
            weights_key=loading.weights_key,
            weights_prefix=loading.weights_prefix,
        )
    try:
        if json is not None:
            write_report(json, report_json.text(report_json.dry_run(result)))
        if emit is not None and result.emitted:
            write_report(emit, result.emitted, option="--emit")
    finally:
        is_written = emit is not None and bool(result.emitted)
        if emit is not None and is_written:  # beside a page that is asked for, words go to stderr
            print_emitted(emit, result, console(stderr=shown.format is not Format.text))
        if shown.format is Format.json:
            typer.echo(report_json.text(report_json.dry_run(result, shown.only)), nl=False)
        elif shown.format is Format.markdown:
            title = " ".join((result.model.name, *config.model_arg))
            page = markdown(result.rewritten, title, shown.full, shown.only)
            typer.echo(visible(page, "\n\t"), nl=False)
        elif not is_written:
            print_dry_run(result, console(), shown.tense, shown.full, shown.only)
    if not result.parity.passed:
        from fxconv.quantization.passes import suspected

        cure = f"; {suspected(config.passes)}" if config.passes else ""
        raise ConversionError(f"{model}: the rewritten model differs from the original: {result.parity.problem}{cure}")
