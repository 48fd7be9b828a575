"""How long one inference takes in the lite interpreter, several files interleaved."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from fxconv.measures.runs import Runs, cpu_of

_WARM_UP = 2
_SECONDS = 0.3
_FEWEST, _MOST = 5, 30
# Readings of the clocks with nothing between them, by which is known what reading them takes.
_READINGS = 9


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference on this machine, `threads` threads: medians of `runs` runs, in turn with float's.

    `int8_ms` and `float_ms` are by the wall, `int8_cpu_ms` and `float_cpu_ms` what the processor worked, NaN where that
    was not measured. Eight of ten runs took from `p10` to `p90`, by the wall. `busy` says that the machine had other
    things to do, so that only CPU times tell how int8 does beside float.

    `float_kernels` are those that the convolutions and linear layers of the float file ran on, as its target names
    them: float is slower on some than on others, and int8 looks the better beside it. "" where it has no such layer.
    `float_problem` is why there was no float file to run, whose figures are NaN then; "" where there was one.
    """

    int8_ms: float
    float_ms: float
    threads: int = 1
    float_kernels: str = ""
    int8_cpu_ms: float = math.nan
    float_cpu_ms: float = math.nan
    int8_p10_ms: float = math.nan
    int8_p90_ms: float = math.nan
    float_p10_ms: float = math.nan
    float_p90_ms: float = math.nan
    runs: int = 0
    busy: bool = False
    float_problem: str = ""

    @property
    def ratio(self) -> float:
        """How much of float's time int8 takes, by the wall."""
        return self.int8_ms / self.float_ms

    @property
    def cpu_ratio(self) -> float:
        """The same by CPU time; NaN where that was not measured."""
        return self.int8_cpu_ms / self.float_cpu_ms

    @property
    def believed_ratio(self) -> float:
        """The one of both that tells how int8 does beside float: by CPU time when the machine was busy."""
        return self.cpu_ratio if self.busy and not math.isnan(self.cpu_ratio) else self.ratio


def set_mobile_threads(threads: int = 1) -> None:
    """Give QNNPACK and XNNPACK their thread pool now, of so many threads.

    They share one pool, which keeps for the life of the process the size of the first call of `set_num_threads`
    or of the first kernel; later calls change torch's own threads only. Without this the latencies said
    to be of one thread would be of all, and on a busy machine each operator would wait for the others' turn.
    """
    with running_on(threads):
        pass


@contextmanager
def running_on(threads: int) -> Iterator[None]:
    """Run with so many threads, and put the old number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def single_thread() -> AbstractContextManager[None]:
    """Run with one thread, and put the old number back."""
    return running_on(1)


def interleaved(
    modules: Sequence[Callable[..., Any]],
    examples: Sequence[tuple[Any, ...]],
    fewest: int,
    most: int,
    seconds: float = 0.0,
    warm_up: int = _WARM_UP,
    threads: int = 1,
    shuffled: bool = False,
    told: Callable[[int], object] = lambda done: None,
) -> list[Runs]:
    """What each module takes on its example, all in turn, so that a slow moment of the machine hits each of them.

    There are `fewest` runs of each and, while `seconds` last, up to `most`. Whoever runs after a big one finds a cold
    cache: `shuffled` lets it be another one each time. `told` hears how many runs of each are done. What reading the
    clocks takes, microseconds where the system has to be asked, is no part of a run.
    """
    times = [_Times() for _ in modules]
    order, shuffle = list(range(len(modules))), random.Random(0).shuffle
    with running_on(threads), torch.no_grad():
        for _ in range(warm_up):
            for module, example in zip(modules, examples, strict=True):
                module(*example)
        done, deadline = 0, time.perf_counter() + seconds
        while done < fewest or (time.perf_counter() < deadline and done < most):
            for index in order:
                module, example = modules[index], examples[index]
                times[index].add(module, example)
            if shuffled:
                shuffle(order)
            done += 1
            told(done)
    return [one.runs(threads) for one in times]


class _Times:
    """What the runs of one file took, by three clocks.

    The wall is read last and first, so that it has nothing of the others in it.
    """

    def __init__(self) -> None:
        self._taken = list[tuple[float, float, float]]()

    def add(self, module: Callable[..., Any], example: tuple[Any, ...]) -> None:
        process, thread, wall = time.process_time(), time.thread_time(), time.perf_counter()
        module(*example)
        ends = time.perf_counter(), time.thread_time(), time.process_time()
        self._taken.append((ends[0] - wall, ends[1] - thread, ends[2] - process))

    def runs(self, threads: int) -> Runs:
        nothing = _Times()
        for _ in range(_READINGS):
            nothing.add(lambda: None, ())
        wall, thread, process = zip(*self._taken, strict=True)
        read = [statistics.median(one) for one in zip(*nothing._taken, strict=True)]
        cpu = cpu_of(*(_less(taken, most) for taken, most in ((thread, read[1]), (process, read[2]))))
        return Runs(tuple(1000 * one for one in wall), tuple(1000 * one for one in cpu), threads)


def _less(taken: Sequence[float], read: float) -> list[float]:
    return [max(one - read, 0.0) for one in taken]


def measure_alone(int8: Any, example: tuple[Any, ...], float_problem: str) -> Latency:
    """Medians over at least 5 runs, where `float_problem` is why there is no float file to run beside it."""
    (runs,) = interleaved((int8,), (example,), _FEWEST, _MOST, _SECONDS)
    return replace(_of_int8(runs), float_problem=float_problem)


def measure(int8: Any, floating: Any, example: tuple[Any, ...]) -> Latency:
    """Medians over at least 5 runs of each, taken in turn."""
    first, second = interleaved((int8, floating), (example, example), _FEWEST, _MOST, _SECONDS)
    return replace(
        _of_int8(first),
        float_ms=second.median,
        float_cpu_ms=second.cpu_median,
        float_p10_ms=second.p10,
        float_p90_ms=second.p90,
        busy=first.was_busy or second.was_busy,
    )


def _of_int8(runs: Runs) -> Latency:
    """What is known of the int8 file's runs alone."""
    return Latency(
        int8_ms=runs.median,
        float_ms=math.nan,
        int8_cpu_ms=runs.cpu_median,
        int8_p10_ms=runs.p10,
        int8_p90_ms=runs.p90,
        runs=len(runs.taken),
        busy=runs.was_busy,
    )
