"""What runs of one file took: by the wall, by the processor, and whether the machine had other things to do."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# A run waits for the processor where the wall says so much more than the CPU time: on a machine with nothing else to do
# both are the same.
_WAITED = 1.25
# Runs of the same thing differ so much, the tenth longest from the median, where something else ran between them.
_APART = 2.0
# Kernels on the threads of a pool count for the process and not for the thread that calls them.
_ELSEWHERE = 1.2


@dataclass(frozen=True)
class Runs:
    """What the runs of one file took, in milliseconds, in the order they were made.

    `taken` is by the wall, `cpu` what the processor worked, on so many `threads`; empty where that was not measured.
    """

    taken: tuple[float, ...]
    cpu: tuple[float, ...] = ()
    threads: int = 1

    @property
    def median(self) -> float:
        return statistics.median(self.taken)

    @property
    def cpu_median(self) -> float:
        """The median of CPU time; NaN where that was not measured, or where its clock is too coarse for it."""
        found = statistics.median(self.cpu) if self.cpu else 0.0
        return found if found > 0 else math.nan

    @property
    def p10(self) -> float:
        """One of ten runs took no longer."""
        return self._quantile(0.1)

    @property
    def p90(self) -> float:
        """Nine of ten runs took no longer."""
        return self._quantile(0.9)

    @property
    def spread(self) -> float:
        """How far apart the middle half of the runs lies, as a share of the median."""
        return (self._quantile(0.75) - self._quantile(0.25)) / self.median

    @property
    def was_busy(self) -> bool:
        """Whether the machine had other things to do: wall times say little then.

        The median of one thread's runs is over 1.25 times that of their CPU time, or one of ten runs took over twice
        the median. Several threads wait for each other, so that only the latter tells something of them.
        """
        waited = self.threads == 1 and self.median > _WAITED * self.cpu_median
        return waited or self.p90 > _APART * self.median

    def ratio(self, first: Runs) -> float:
        """The median of the ratios to those of another file, run by run: what slows both down for a moment cancels."""
        return _ratio(self.taken, first.taken)

    def cpu_ratio(self, first: Runs) -> float:
        """The same of CPU time; NaN where that was not measured."""
        if math.isnan(self.cpu_median) or math.isnan(first.cpu_median):
            return math.nan
        return _ratio(self.cpu, first.cpu)

    def _quantile(self, share: float) -> float:
        ordered = sorted(self.taken)
        place = share * (len(ordered) - 1)
        below, part = ordered[int(place)], place - int(place)
        return below + part * (ordered[min(int(place) + 1, len(ordered) - 1)] - below)


def cpu_of(thread: Sequence[float], process: Sequence[float]) -> tuple[float, ...]:
    """The CPU time of runs, of what the thread that ran them worked, and what all threads of the process did.

    That of the process counts where the kernels run on a pool's threads, and is a fifth more then, or else that of the
    thread: what others of the process do meanwhile, a display of progress, a notebook, is no part of a run.
    """
    elsewhere = statistics.median(process) > _ELSEWHERE * statistics.median(thread)
    return tuple(process if elsewhere else thread)


def _ratio(own: Sequence[float], first: Sequence[float]) -> float:
    return statistics.median(one / other if other else math.nan for one, other in zip(own, first, strict=True))
