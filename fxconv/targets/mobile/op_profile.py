"""What each operator of a lite-interpreter file takes, in the order they run, and the layer it belongs to."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.autograd.profiler import record_function
from torch.autograd.profiler_legacy import profile

from fxconv.measures.latency import running_on
from fxconv.targets.mobile.op_layers import layers_of, program_of

# Each run of a detector leaves thousands of events in memory.
_MOST = 20
_RUN = "fxconv: one run"


@dataclass(frozen=True)
class Call:
    """One operator where it runs: its layer, None when that is not known, and its median milliseconds.

    `share` is that of all operators' time.
    """

    operator: str
    layer: str | None
    ms: float
    share: float


def op_profile(
    path: Path, module: Callable[..., Any], example: tuple[Any, ...], runs: int, threads: int = 1
) -> tuple[Call, ...]:
    """The operators that running `module`, which is the file at `path`, calls itself, each with what it calls.

    Measured over at most 20 runs. Profiling takes time of its own, which counts most in small operators: shares say
    where the time goes, and the latency is what was measured without. None at all when the operators differ from run
    to run.
    """
    taken = _runs(module, example, min(runs, _MOST), threads)
    names = [name for name, _ in taken[0]]
    if any([name for name, _ in run] != names for run in taken):
        return ()
    medians = [statistics.median(run[index][1] for run in taken) for index in range(len(names))]
    total, layers = sum(medians) or 1.0, layers_of(program_of(path), names)
    return tuple(Call(name, layer, ms, ms / total) for name, layer, ms in zip(names, layers, medians, strict=True))


def _runs(
    module: Callable[..., Any], example: tuple[Any, ...], runs: int, threads: int
) -> list[Sequence[tuple[str, float]]]:
    """The operators of each run and their milliseconds, without those that others call."""
    with warnings.catch_warnings(), running_on(threads), torch.no_grad():
        warnings.simplefilter("ignore")
        module(*example)
        # torch's newer profiler writes words of its own to stderr
        with profile() as profiled:
            for _ in range(runs):
                with record_function(_RUN):
                    module(*example)
    whole = [event for event in profiled.function_events if event.name == _RUN]
    return [[(one.name, one.cpu_time_total / 1000) for one in event.cpu_children] for event in whole]
