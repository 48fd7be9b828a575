"""Files side by side, and where the time goes in each, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from fxconv.report.tables import add, count, grid, milliseconds, percent, say, section, show, size
from fxconv.targets.mobile.op_profile import Call
from fxconv.targets.proof.bench import Bench, Benched

# Rows of a profile that are shown; JSON has all.
_MOST = 20
_UNKNOWN = "-"


def print_bench(found: Bench, console: Console) -> None:
    """A row for each file, what the figures are, and each file's profile if there is one."""
    table = grid("file", "input", ">median", ">p90", ">spread", ">to first", ">size", ">peak memory")
    for one in found.files:
        runs = one.runs
        times = (milliseconds(runs.median), milliseconds(runs.p90), percent(runs.spread))
        add(table, str(one.path), one.input, *times, f"{one.to_first:.3f}", size(one.bytes), size(one.peak_bytes))
    show(table, console)
    files = " in turn" if len(found.files) > 1 else ""
    _say(
        console,
        f"{count(found.runs, 'run')} of each file{files} behind {found.warm_up} to warm up, "
        f"{count(found.threads, 'thread')}, lite interpreter, this machine; qnnpack is made for ARM, and a phone gives "
        "other ratios",
        "p90: nine of ten runs took no longer; spread: how far apart the middle half lies, in shares of the median; "
        "to first: median of the ratios to the first file, run by run",
        "peak memory: what loading and running the file adds to a process of its own that has torch and the input",
    )
    for one in found.files:
        if one.calls is not None:
            _print_calls(one, one.calls, console)


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        say(console, line, "dim")


def _print_calls(one: Benched, calls: Sequence[Call], console: Console) -> None:
    section(console, f"Operators of {one.path}")
    if not calls:
        _say(console, "they differ from run to run, so that there is no profile of them")
        return
    kinds: dict[str, list[Call]] = {}
    for call in calls:
        kinds.setdefault(call.operator, []).append(call)
    table = grid("operator", ">calls", ">time", ">share")
    for operator, same in sorted(kinds.items(), key=lambda pair: -sum(call.ms for call in pair[1]))[:_MOST]:
        shares = sum(call.ms for call in same), sum(call.share for call in same)
        add(table, operator, str(len(same)), _time(shares[0]), percent(shares[1]))
    show(table, console)
    _more(len(kinds), console)
    console.print()
    table = grid("layer", "operator", ">time", ">share")
    for call in sorted(calls, key=lambda call: -call.ms)[:_MOST]:
        add(table, call.layer or _UNKNOWN, call.operator, _time(call.ms), percent(call.share))
    show(table, console)
    _more(len(calls), console)
    if not any(call.layer for call in calls):
        _say(
            console,
            "the file does not say which layers they belong to: it was traced, or holds no line of a graph of torch.fx",
        )


def _more(number: int, console: Console) -> None:
    if number > _MOST:
        say(console, f"and {number - _MOST} more")


def _time(value: float) -> str:
    return f"{1000 * value:.0f} µs" if value < 1 else milliseconds(value)
