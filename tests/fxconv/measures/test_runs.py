"""The figures of runs, worked out by hand."""

from __future__ import annotations

import math

import pytest

from fxconv.measures.runs import Runs, cpu_of


def test_figures_of_runs_by_hand():
    runs = Runs((4.0, 1.0, 2.0, 3.0, 5.0), (3.5, 1.0, 2.0, 2.5, 4.0))
    assert (runs.median, runs.cpu_median) == (3.0, 2.5)
    assert (runs.p10, runs.p90) == (pytest.approx(1.4), pytest.approx(4.6))
    assert runs.spread == pytest.approx((4.0 - 2.0) / 3.0)
    assert Runs((2.0, 2.0)).spread == 0.0


def test_ratios_are_taken_run_by_run():
    first = Runs((1.0, 10.0, 2.0), (1.0, 4.0, 2.0))
    other = Runs((2.0, 20.0, 3.0), (3.0, 12.0, 2.0))
    assert (other.ratio(first), other.cpu_ratio(first)) == (2.0, 3.0)
    assert (first.ratio(first), first.cpu_ratio(first)) == (1.0, 1.0)


@pytest.mark.parametrize("cpu", [(), (0.0, 0.0)])
def test_cpu_time_that_was_not_measured(cpu):
    runs = Runs((1.0, 2.0), cpu)
    assert math.isnan(runs.cpu_median)
    assert math.isnan(runs.cpu_ratio(Runs((1.0, 2.0), (1.0, 2.0))))
    assert not runs.was_busy


@pytest.mark.parametrize(
    ("runs", "was_busy"),
    [
        (Runs((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)), False),
        (Runs((1.24, 1.24, 1.24), (1.0, 1.0, 1.0)), False),
        (Runs((1.26, 1.26, 1.26), (1.0, 1.0, 1.0)), True),
        # several threads wait for each other
        (Runs((1.26, 1.26, 1.26), (1.0, 1.0, 1.0), threads=2), False),
        # one slow run of twenty is any machine's; three are not
        (Runs((1.0,) * 19 + (9.0,), (1.0,) * 20), False),
        (Runs((1.0,) * 17 + (9.0,) * 3, (1.0,) * 20), True),
        (Runs((1.0,) * 17 + (9.0,) * 3, (1.0,) * 20, threads=2), True),
    ],
)
def test_a_machine_was_busy_where_runs_waited_or_differ(runs, was_busy):
    assert runs.was_busy is was_busy


def test_the_process_counts_where_more_than_the_thread_worked():
    assert cpu_of([1.0, 1.0, 1.0], [1.5, 1.5, 1.5]) == (1.5, 1.5, 1.5)
    assert cpu_of([1.0, 1.0, 1.0], [1.1, 9.0, 1.1]) == (1.0, 1.0, 1.0)
