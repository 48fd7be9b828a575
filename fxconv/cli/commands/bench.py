"""`fxconv bench`: latency, size and memory of files, each in its runtime."""

from __future__ import annotations

from fxconv.cli.options.files import ArtifactExampleOption, ArtifactsArgument, BenchJsonOption, MeasurementOptions
from fxconv.cli.options.groups import takes_groups
from fxconv.cli.options.model import InputSizeOption
from fxconv.cli.options.output import QuietOption, TracebackOption


@takes_groups
def bench(
    *,
    files: ArtifactsArgument,
    input_size: InputSizeOption = None,
    example: ArtifactExampleOption = None,
    measurement: MeasurementOptions,
    json: BenchJsonOption = None,
    quiet: QuietOption = False,
    traceback_: TracebackOption = False,
) -> None:
    """Latency, size and peak memory of files, run in turn.

    Each runs in its runtime. --ops says where the time goes in a .ptl.

    Examples:
        # Two files side by side; ratios are to the first
        fxconv bench before.ptl after.ptl
        # In the runtimes of both
        fxconv bench net.ptl net.pte
        # Where the time goes
        fxconv bench net.ptl --ops
        # With four threads, every run as JSON
        fxconv bench net.ptl --threads 4 --runs 200 --json runs.json
    """
    from fxconv.cli import terminal
    from fxconv.cli.paths import check_distinct, check_target
    from fxconv.cli.results import write_report
    from fxconv.data.given_files import check_array, check_artifact
    from fxconv.models.input_size import parse_input_size

    check_target(json, "--json")
    check_distinct({"--json": json}, {"--example": example} | {str(path): path for path in files})
    for file in files:
        check_artifact(file)
    parse_input_size(input_size)
    check_array(example, "--example")
    with terminal.progress(quiet) as progress:
        progress("loading", 0, 1)
        from fxconv.report.bench import print_bench
        from fxconv.targets.proof.bench import bench as run

        found = run(
            files,
            input_size,
            example,
            measurement.runs,
            measurement.warm_up,
            measurement.threads,
            measurement.ops,
            progress,
        )
    try:
        if json is not None:
            write_report(json, found.json_text())
    finally:
        print_bench(found, terminal.console())
