"""`fxconv compare`: what differs between two conversions."""

from __future__ import annotations

from fxconv.options import ReportArgument, TracebackOption


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
