"""How long one inference takes in the lite interpreter, int8 and float interleaved."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

_WARM_UP = 2
_SECONDS = 0.3
_FEWEST, _MOST = 5, 30


@dataclass(frozen=True)
class Latency:
    """Median milliseconds of one inference on this machine, `threads` threads."""

    int8_ms: float
    float_ms: float
    threads: int = 1


def settle_mobile_threads() -> None:
    """Give QNNPACK and XNNPACK their thread pool now, of one thread.

    They share one pool, which keeps for the life of the process the size of the first call of `set_num_threads`
    or of the first kernel; later calls change torch's own threads only. Without this the latencies said
    to be of one thread would be of all, and on a busy machine each operator would wait for the others' turn.
    """
    with single_thread():
        pass


@contextmanager
def single_thread() -> Iterator[None]:
    """Run with one thread, and put the old number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure(int8: Any, floating: Any, example: tuple[Any, ...]) -> Latency:
    """Medians over at least 5 runs of each, taken in turn so that a slow moment of the machine hits both."""
    times: tuple[list[float], list[float]] = ([], [])
    with single_thread(), torch.no_grad():
        for _ in range(_WARM_UP):
            int8(*example)
            floating(*example)
        deadline = time.perf_counter() + _SECONDS
        while len(times[0]) < _FEWEST or (time.perf_counter() < deadline and len(times[0]) < _MOST):
            for module, taken in zip((int8, floating), times, strict=True):
                start = time.perf_counter()
                module(*example)
                taken.append(time.perf_counter() - start)
    return Latency(1000 * statistics.median(times[0]), 1000 * statistics.median(times[1]))
