"""`fxconv compare`: what differs between two conversions."""

from __future__ import annotations

from fxconv.cli.options.analysis import ReportArgument
from fxconv.cli.options.output import TracebackOption


def compare(
    first: ReportArgument,
    second: ReportArgument,
    traceback_: TracebackOption = False,
) -> None:
    """What differs between two conversions, by their JSON reports.

    Examples:
        fxconv compare before.json after.json
    """
    from fxconv.analysis.compare import differences, read_report
    from fxconv.cli.terminal import console
    from fxconv.report.comparison import print_comparison

    a, b = read_report(first), read_report(second)
    print_comparison((first, second), (a, b), differences(a, b), console())
