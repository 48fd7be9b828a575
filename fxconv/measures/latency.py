"""How long one inference takes in the lite interpreter, several files interleaved."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

_WARM_UP = 2
_SECONDS = 0.3
_FEWEST, _MOST = 5, 30


@dataclass(frozen=True)
class Latency:
    """Median milliseconds of one inference on this machine, `threads` threads.

    `float_kernels` are those that the convolutions and linear layers of the float file ran on, as its target names
    them: float is slower on some than on others, and int8 looks the better beside it. "" where it has no such layer.
    """

    int8_ms: float
    float_ms: float
    threads: int = 1
    float_kernels: str = ""


@dataclass(frozen=True)
class Runs:
    """What the runs of one file took, in milliseconds, in the order they were made."""

    taken: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.taken)

    @property
    def p90(self) -> float:
        """Nine of ten runs took no longer."""
        return self._quantile(0.9)

    @property
    def spread(self) -> float:
        """How far apart the middle half of the runs lies, as a share of the median."""
        return (self._quantile(0.75) - self._quantile(0.25)) / self.median

    def ratio(self, first: Runs) -> float:
        """The median of the ratios to those of another file, run by run: what slows both down for a moment cancels."""
        return statistics.median(own / other for own, other in zip(self.taken, first.taken, strict=True))

    def _quantile(self, share: float) -> float:
        ordered = sorted(self.taken)
        place = share * (len(ordered) - 1)
        below, part = ordered[int(place)], place - int(place)
        return below + part * (ordered[min(int(place) + 1, len(ordered) - 1)] - below)


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
    cache: `shuffled` lets it be another one each time. `told` hears how many runs of each are done.
    """
    times: list[list[float]] = [[] for _ in modules]
    order, shuffle = list(range(len(modules))), random.Random(0).shuffle
    with running_on(threads), torch.no_grad():
        for _ in range(warm_up):
            for module, example in zip(modules, examples, strict=True):
                module(*example)
        done, deadline = 0, time.perf_counter() + seconds
        while done < fewest or (time.perf_counter() < deadline and done < most):
            for index in order:
                module, example = modules[index], examples[index]
                start = time.perf_counter()
                module(*example)
                times[index].append(1000 * (time.perf_counter() - start))
            if shuffled:
                shuffle(order)
            done += 1
            told(done)
    return [Runs(tuple(taken)) for taken in times]


def measure(int8: Any, floating: Any, example: tuple[Any, ...]) -> Latency:
    """Medians over at least 5 runs of each, taken in turn."""
    first, second = interleaved((int8, floating), (example, example), _FEWEST, _MOST, _SECONDS)
    return Latency(first.median, second.median)
