"""Files side by side, and where the time goes in each, on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from fxconv.report.latency import BUSY
from fxconv.report.tables import add, count, grid, milliseconds, percent, say, section, show, size
from fxconv.targets.mobile.op_profile import Call, Profile
from fxconv.targets.proof.bench import Bench, Benched

# Rows of a profile that are shown; JSON has all.
_MOST = 20
_UNKNOWN = "-"


def print_bench(found: Bench, console: Console) -> None:
    """A row for each file, what the figures are, and each file's profile if there is one."""
    table = grid(
        "file", "input", ">median", ">p90", ">spread", ">CPU", ">to first", ">by CPU", ">size", ">peak memory"
    )  # fmt: skip
    for one in found.files:
        runs = one.runs
        times = (milliseconds(runs.median), milliseconds(runs.p90), percent(runs.spread), _cpu(runs.cpu_median))
        ratios = f"{one.to_first:.3f}", _ratio(one.cpu_to_first)
        add(table, str(one.path), one.input, *times, *ratios, size(one.bytes), size(one.peak_bytes))
    show(table, console)
    if found.was_busy:
        say(console, f"{BUSY}; compare by CPU time", "yellow")
    files = " in turn" if len(found.files) > 1 else ""
    runtimes = list(dict.fromkeys(one.runtime for one in found.files))
    if len(runtimes) > 1:
        ran = "; ".join(
            f"{_with_kernels(name)}: {', '.join(str(one.path) for one in found.files if one.runtime == name)}"
            for name in runtimes
        )
        say(console, f"the kernels differ ({ran}): the ratios are those of runtimes, not of files alone", "yellow")
    made_for = "qnnpack is made for ARM, and a phone" if any("qnnpack" in one for one in runtimes) else "a phone"
    _say(
        console,
        f"{count(found.runs, 'run')} of each file{files} behind {found.warm_up} to warm up, "
        f"{count(found.threads, 'thread')}, {' and '.join(map(_with_kernels, runtimes))}, this machine; {made_for} "
        "gives other ratios",
        "p90: nine of ten runs took no longer; spread: how far apart the middle half lies, in shares of the median; "
        "CPU: median of what the processor worked",
        "to first, by CPU: medians of the ratios to the first file, run by run, by the wall and by CPU time",
        "peak memory: what loading and running the file adds to a process of its own that has torch and the input",
    )
    for one in found.files:
        if one.profile is not None:
            _print_profile(one, one.profile, console)


def _with_kernels(runtime: str) -> str:
    return runtime.replace(", ", " with ")


def _cpu(value: float) -> str:
    return _UNKNOWN if math.isnan(value) else milliseconds(value)


def _ratio(value: float) -> str:
    return _UNKNOWN if math.isnan(value) else f"{value:.3f}"


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        say(console, line, "dim")


def _print_profile(one: Benched, profile: Profile, console: Console) -> None:
    section(console, f"Operators of {one.path}")
    calls = profile.calls
    if not calls:
        _say(console, "they differ from run to run, so that there is no profile of them")
        return
    kinds: dict[str, list[Call]] = {}
    for call in calls:
        kinds.setdefault(call.operator, []).append(call)
    rest, median = profile.between_ms, one.runs.median
    table = grid("operator", ">calls", ">time", ">share")
    rows = [((operator, str(len(same))), sum(call.ms for call in same)) for operator, same in kinds.items()]
    _add_up(table, rows, rest, median)
    show(table, console)
    console.print()
    table = grid("layer", "operator", ">time", ">share")
    _add_up(table, [((call.layer or _UNKNOWN, call.operator), call.ms) for call in calls], rest, median)
    show(table, console)
    _say(
        console,
        f"medians of profiled runs, less {profile.taken_off_us:.2f} µs that the profiler takes for each operator and "
        f"each it calls, times {profile.scaled:.2f}, so that they add up to the median of the runs above",
    )
    if not any(call.layer for call in calls):
        _say(
            console,
            "the file does not say which layers they belong to: it was traced, or holds no line of a graph of torch.fx",
        )


def _add_up(table: Table, rows: Sequence[tuple[tuple[str, str], float]], between: float, median: float) -> None:
    """The slowest rows, the others as one, and what lies between operators: together they are the median."""
    ordered = sorted(rows, key=lambda row: -row[1])
    for words, taken in ordered[:_MOST]:
        add(table, *words, _time(taken), percent(taken / median))
    if others := ordered[_MOST:]:
        left = sum(taken for _, taken in others)
        add(table, f"and {len(others)} more", "", _time(left), percent(left / median))
    add(table, "between operators: the interpreter", "", _time(between), percent(between / median))
    add(table, "together", "", _time(sum(taken for _, taken in rows) + between), "")


def _time(value: float) -> str:
    return f"{1000 * value:.0f} µs" if value < 1 else milliseconds(value)
