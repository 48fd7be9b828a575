"""Times of operators add up to the median of runs that nobody profiled; the figures are worked out by hand."""

from __future__ import annotations

import pytest

from fxconv.targets.mobile.op_times import Profiled, Times, times


def together(found: Times) -> float:
    return sum(found.operators) + found.between


def test_what_the_profiler_takes_is_taken_off():
    """Two operators, the second calls three: five are profiled, and runs take 5 longer, 1 for each."""
    run = Profiled(whole=25.0, operators=(6.0, 14.0), called=(0, 3))
    found = times([run], unprofiled=19.0, nothing=1.0, median=19.0)
    assert found.taken_off == pytest.approx(1.0)
    # a third of it lies within the time of the operator, all of it where it is called by one
    assert found.operators == pytest.approx((6 - 1 / 3, 14 - 3 - 1 / 3))
    assert found.between == pytest.approx(25 - 20 - 1 - 2 * 2 / 3)
    assert found.scaled == pytest.approx(1.0)
    assert together(found) == pytest.approx(19.0)


def test_a_machine_that_was_slower_meanwhile_scales_all():
    run = Profiled(20.0, (6.0, 14.0), (0, 0))
    found = times([run], unprofiled=20.0, nothing=0.0, median=10.0)
    assert (found.taken_off, found.scaled) == (0.0, 0.5)
    assert (found.operators, found.between) == ((3.0, 7.0), 0.0)


def test_profiled_runs_that_took_less_have_nothing_taken_off():
    found = times([Profiled(8.0, (2.0, 4.0), (0, 0))], unprofiled=16.0, nothing=0.0, median=16.0)
    assert (found.taken_off, found.scaled) == (0.0, 2.0)
    assert (found.operators, found.between) == ((4.0, 8.0), 4.0)


def test_never_more_than_an_operator_that_calls_others_takes():
    """Runs that took 90 longer say nothing of the profiler: the second operator, which calls two, took 7 in all."""
    found = times([Profiled(100.0, (83.0, 7.0), (0, 2))], unprofiled=10.0, nothing=0.0, median=10.0)
    assert found.taken_off == pytest.approx(3.0)
    assert found.operators[1] == pytest.approx(0.0)
    assert found.operators[0] > 8.0
    assert together(found) == pytest.approx(10.0)


def test_medians_of_each_operator():
    """A slow moment hits one operator of a run, and another of the next."""
    runs = [Profiled(12.0, one, (0, 0)) for one in ((1.0, 9.0), (9.0, 2.0), (1.0, 2.0))]
    assert times(runs, unprofiled=6.0, nothing=9.0, median=3.0).operators == (1.0, 2.0)


@pytest.mark.parametrize(
    "run",
    [
        Profiled(2.9, (0.5, 0.25, 1.0, 0.001), (3, 0, 9, 0)),
        Profiled(0.0, (0.0, 0.0), (0, 0)),
        Profiled(5.0, (), ()),
        Profiled(0.02, (0.005, 0.001), (1, 0)),
    ],
)
@pytest.mark.parametrize("unprofiled", [0.01, 1.0, 40.0])
@pytest.mark.parametrize("median", [0.02, 1.5])
def test_whatever_was_measured_they_add_up_and_none_is_negative(run, unprofiled, median):
    found = times([run, run], unprofiled, 0.004, median)
    assert together(found) == pytest.approx(median)
    assert min((*found.operators, found.between, found.taken_off)) >= 0
