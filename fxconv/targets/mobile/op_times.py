"""From profiled runs to times of operators that add up to what a run takes that nobody profiles.

torch's profiler takes half a microsecond or more for each operator and each that those call: in a small network, more
than the operators themselves. What it takes is known from the difference to runs without it, and taken off.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Of what the profiler takes for an operator so much lies within the time it tells; the rest lies before and behind it.
_WITHIN = 1 / 3


@dataclass(frozen=True)
class Profiled:
    """One profiled run, in milliseconds: the whole, its operators in order, and how many each calls, itself not among
    them."""

    whole: float
    operators: tuple[float, ...]
    called: tuple[int, ...]


@dataclass(frozen=True)
class Times:
    """Milliseconds of each operator, and of what lies between them, the interpreter: together, the median.

    `taken_off` is what the profiler took for each operator and each called by one, and is not in them; `scaled` by what
    they were multiplied then, because the machine was slower or faster while it profiled.
    """

    operators: tuple[float, ...]
    between: float
    taken_off: float
    scaled: float


def times(profiled: Sequence[Profiled], unprofiled: float, nothing: float, median: float) -> Times:
    """Times that add up to `median`, the milliseconds of a run.

    `unprofiled` is what a run took beside the profiled ones, `nothing` what profiling says of a run of nothing. What
    the profiler takes is what profiled runs took longer, shared out by the operators, as far as that leaves something
    to each that calls others: what is more than that is a machine that was slower meanwhile, and scales them all.
    """
    operators = [statistics.median(one) for one in zip(*(run.operators for run in profiled), strict=True)]
    between = statistics.median(max(run.whole - sum(run.operators) - nothing, 0.0) for run in profiled)
    within, outside = [_WITHIN + below for below in profiled[0].called], (1 - _WITHIN) * len(operators)
    longer = sum(operators) + between - unprofiled
    most = [taken / share for taken, share in zip(operators, within, strict=True) if share > 1]
    each = max(0.0, min([longer / (sum(within) + outside), between / outside, *most])) if operators else 0.0
    left = [max(taken - each * share, 0.0) for taken, share in zip(operators, within, strict=True)]
    whole = sum(left) + between - each * outside
    scaled = median / whole if whole > 0 else 1.0
    inside = tuple(scaled * taken for taken in left)
    return Times(inside, max(median - sum(inside), 0.0), each, scaled)
