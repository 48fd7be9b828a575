"""What each operator of a lite-interpreter file takes, in the order they run, and the layer it belongs to."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.autograd.profiler import record_function
from torch.autograd.profiler_legacy import profile

from fxconv.measures.latency import interleaved, running_on
from fxconv.targets.mobile.op_layers import layers_of, program_of
from fxconv.targets.mobile.op_times import Profiled, times

# Each run of a detector leaves thousands of events in memory.
_MOST = 20
_RUN, _NOTHING = "fxconv: one run", "fxconv: a run of nothing"


@dataclass(frozen=True)
class Call:
    """One operator where it runs: its layer, None when that is not known, and its milliseconds.

    `share` is that of a run's median.
    """

    operator: str
    layer: str | None
    ms: float
    share: float


@dataclass(frozen=True)
class Profile:
    """Where the time of a run goes: `calls` and `between_ms`, the interpreter between them, add up to its median.

    There are no calls when they differ from run to run. The times are those of profiled runs, less `taken_off_us`
    microseconds that the profiler takes for each operator, multiplied by `scaled`, because the machine was slower or
    faster meanwhile.
    """

    calls: tuple[Call, ...]
    between_ms: float
    taken_off_us: float = 0.0
    scaled: float = 1.0


def op_profile(
    path: Path, module: Callable[..., Any], example: tuple[Any, ...], runs: int, median: float, threads: int = 1
) -> Profile:
    """The operators that running `module`, which is the file at `path`, calls itself, each with what it calls.

    They are measured over at most 20 runs, beside as many that are not profiled; `median` is what a run takes, in
    milliseconds, to which the times add up.
    """
    most = min(runs, _MOST)
    few = -(-most // 2)

    def unprofiled() -> tuple[float, ...]:
        return interleaved([module], [example], few, few, warm_up=1, threads=threads)[0].taken

    taken = unprofiled()
    names, profiled, nothing = _profiled(module, example, most, threads)
    if any(each != names[0] for each in names):
        return Profile((), median)
    found = times(profiled, statistics.median((*taken, *unprofiled())), nothing, median)
    layers, whole = layers_of(program_of(path), names[0]), median or 1.0
    calls = tuple(
        Call(name, layer, ms, ms / whole) for name, layer, ms in zip(names[0], layers, found.operators, strict=True)
    )
    return Profile(calls, found.between, 1000 * found.taken_off, found.scaled)


def _profiled(
    module: Callable[..., Any], example: tuple[Any, ...], runs: int, threads: int
) -> tuple[list[list[str]], list[Profiled], float]:
    """The names of the operators of each run, without those that others call; what they take; and what nothing does."""
    with warnings.catch_warnings(), running_on(threads), torch.no_grad():
        warnings.simplefilter("ignore")
        # torch's newer profiler writes words of its own to stderr
        with profile() as profiled:
            for _ in range(runs):
                with record_function(_RUN):
                    module(*example)
                with record_function(_NOTHING):
                    pass
    events = profiled.function_events
    whole = [event for event in events if event.name == _RUN]
    found = [
        Profiled(
            run.cpu_time_total / 1000,
            tuple(one.cpu_time_total / 1000 for one in run.cpu_children),
            tuple(_below(one) for one in run.cpu_children),
        )
        for run in whole
    ]
    nothing = statistics.median(event.cpu_time_total / 1000 for event in events if event.name == _NOTHING)
    return [[one.name for one in run.cpu_children] for run in whole], found, nothing


def _below(event: Any) -> int:
    """How many operators one calls, and those it calls."""
    return sum(1 + _below(one) for one in event.cpu_children)
