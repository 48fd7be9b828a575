"""Latency is the median of runs taken in turn, with one thread; the clock here is a pretended one."""

from __future__ import annotations

import pytest
import torch

from fxconv.measures import latency


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when a pretended inference moves it."""
    now = [100.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    return now


def inference(clock, order, name, seconds):
    durations = iter(seconds)

    def run(*example):
        order.append((name, torch.get_num_threads()))
        clock[0] += next(durations, seconds[-1])

    return run


def test_medians_in_milliseconds(clock):
    order: list[tuple[str, int]] = []
    # the first two runs of each warm up and do not count; one slow run does not move a median
    int8 = inference(clock, order, "int8", [9.0, 9.0, 0.002, 0.5, 0.002, 0.002, 0.002])
    floating = inference(clock, order, "float", [9.0, 9.0, 0.005])
    found = latency.measure(int8, floating, (torch.zeros(1),))
    assert found.int8_ms == pytest.approx(2.0)
    assert found.float_ms == pytest.approx(5.0)
    assert found.threads == 1


def test_runs_are_taken_in_turn_with_one_thread(clock):
    torch.set_num_threads(2)
    order: list[tuple[str, int]] = []
    latency.measure(inference(clock, order, "int8", [1.0]), inference(clock, order, "float", [1.0]), ())
    assert [name for name, _ in order] == ["int8", "float"] * (2 + 5)
    assert {threads for _, threads in order} == {1}
    assert torch.get_num_threads() == 2


def test_settling_the_mobile_kernels_leaves_torchs_own_threads_alone():
    torch.set_num_threads(2)
    latency.set_mobile_threads()
    assert torch.get_num_threads() == 2


def test_figures_of_runs_by_hand():
    runs = latency.Runs((4.0, 1.0, 2.0, 3.0, 5.0))
    assert runs.median == 3.0
    assert runs.p90 == pytest.approx(4.6)
    assert runs.spread == pytest.approx((4.0 - 2.0) / 3.0)
    assert latency.Runs((2.0, 2.0)).spread == 0.0


def test_ratios_are_taken_run_by_run():
    first = latency.Runs((1.0, 10.0, 2.0))
    assert latency.Runs((2.0, 20.0, 3.0)).ratio(first) == 2.0
    assert first.ratio(first) == 1.0


def test_several_are_run_in_a_new_order_each_time(clock):
    order: list[tuple[str, int]] = []
    names, told = ("a", "b", "c"), list[int]()
    modules = [inference(clock, order, name, [0.001 * (index + 1)]) for index, name in enumerate(names)]
    found = latency.interleaved(modules, [()] * 3, 6, 6, warm_up=1, threads=2, shuffled=True, told=told.append)
    rounds = ["".join(name for name, _ in order[start : start + 3]) for start in range(0, len(order), 3)]
    assert len(rounds) == 1 + 6
    assert {"".join(sorted(one)) for one in rounds} == {"abc"}
    assert len(set(rounds)) > 2
    assert {threads for _, threads in order} == {2}
    assert told == [1, 2, 3, 4, 5, 6]
    # whatever the order, each run is its own module's
    assert [runs.taken for runs in found] == [pytest.approx((index + 1.0,) * 6) for index in range(3)]


def test_more_runs_while_there_is_time(clock):
    module = inference(clock, [], "a", [1.0])
    assert len(latency.interleaved([module], [()], 2, 9, seconds=4.5, warm_up=0)[0].taken) == 5
    assert len(latency.interleaved([module], [()], 2, 3, seconds=4.5, warm_up=0)[0].taken) == 3
    assert len(latency.interleaved([module], [()], 7, 9, seconds=4.5, warm_up=0)[0].taken) == 7
