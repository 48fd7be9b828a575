"""Latency is the median of runs taken in turn, with one thread; the clocks here are pretended ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from fxconv.measures import latency


@dataclass
class Clocks:
    """Clocks that move only when a pretended inference moves them."""

    wall: float = 100.0
    thread: float = 20.0
    process: float = 30.0


@pytest.fixture
def clock(monkeypatch):
    now = Clocks()
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now.wall)
    monkeypatch.setattr(latency.time, "thread_time", lambda: now.thread)
    monkeypatch.setattr(latency.time, "process_time", lambda: now.process)
    return now


def inference(clock, order, name, seconds, worked=1.0, elsewhere=0.0):
    """Runs that take these seconds, of which the calling thread works a share, and others of the process another."""
    durations = iter(seconds)

    def run(*example):
        order.append((name, torch.get_num_threads()))
        took = next(durations, seconds[-1])
        clock.wall += took
        clock.thread += took * worked
        clock.process += took * (worked + elsewhere)

    return run


def test_medians_in_milliseconds(clock):
    order: list[tuple[str, int]] = []
    # the first two runs of each warm up and do not count; one slow run does not move a median
    int8 = inference(clock, order, "int8", [9.0, 9.0, 0.002, 0.5, 0.002, 0.002, 0.002])
    floating = inference(clock, order, "float", [9.0, 9.0, 0.005])
    found = latency.measure(int8, floating, (torch.zeros(1),))
    assert found.int8_ms == pytest.approx(2.0)
    assert found.float_ms == pytest.approx(5.0)
    assert (found.threads, found.runs) == (1, 5)


def test_beside_the_wall_stands_what_the_processor_worked(clock):
    order: list[tuple[str, int]] = []
    int8 = inference(clock, order, "int8", [0.002], worked=0.9)
    floating = inference(clock, order, "float", [0.004], worked=0.95)
    found = latency.measure(int8, floating, ())
    assert (found.int8_cpu_ms, found.float_cpu_ms) == (pytest.approx(1.8), pytest.approx(3.8))
    assert (found.ratio, found.cpu_ratio) == (pytest.approx(0.5), pytest.approx(1.8 / 3.8))
    assert not found.busy
    assert found.believed_ratio == found.ratio


def test_on_a_busy_machine_cpu_time_is_believed(clock):
    """Eleven times slower by the wall, because others ran meanwhile, and 1.3 times by what it takes."""
    order: list[tuple[str, int]] = []
    int8 = inference(clock, order, "int8", [0.011], worked=1.3 / 11)
    found = latency.measure(int8, inference(clock, order, "float", [0.001]), ())
    assert found.busy
    assert found.ratio == pytest.approx(11.0)
    assert found.believed_ratio == found.cpu_ratio == pytest.approx(1.3)


def test_kernels_on_a_pools_threads_count(clock):
    """Torch's pool may be of more threads than one, of what the process did before."""
    order: list[tuple[str, int]] = []
    int8 = inference(clock, order, "int8", [0.002], worked=0.6, elsewhere=0.35)
    found = latency.measure(int8, inference(clock, order, "float", [0.002], worked=0.96, elsewhere=0.04), ())
    assert found.int8_cpu_ms == pytest.approx(1.9)
    assert found.float_cpu_ms == pytest.approx(1.92)  # of the thread: what others did was no kernel
    assert not found.busy


def test_what_reading_the_clocks_takes_is_no_part_of_a_run(clock, monkeypatch):
    def reading():
        clock.thread += 0.0005
        return clock.thread

    monkeypatch.setattr(latency.time, "thread_time", reading)
    (found,) = latency.interleaved([inference(clock, [], "a", [0.002])], [()], 3, 3)
    assert found.cpu == pytest.approx((2.0,) * 3)


def test_a_clock_too_coarse_to_tell_tells_nothing(clock):
    found = latency.measure(
        inference(clock, [], "int8", [0.002], worked=0.0), inference(clock, [], "float", [0.002]), ()
    )
    assert math.isnan(found.int8_cpu_ms)
    assert math.isnan(found.cpu_ratio)
    assert found.believed_ratio == found.ratio


def test_eight_of_ten_runs_lie_within_the_spread(clock):
    order: list[tuple[str, int]] = []
    warm_up = [1.0, 1.0]
    int8 = inference(clock, order, "int8", [*warm_up, 0.001, 0.002, 0.003, 0.004, 0.005])
    found = latency.measure(int8, inference(clock, order, "float", [0.01]), ())
    assert (found.int8_p10_ms, found.int8_p90_ms) == (pytest.approx(1.4), pytest.approx(4.6))
    assert (found.float_p10_ms, found.float_p90_ms) == (pytest.approx(10.0), pytest.approx(10.0))


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
    assert [runs.cpu for runs in found] == [pytest.approx((index + 1.0,) * 6) for index in range(3)]
    assert {runs.threads for runs in found} == {2}


def test_more_runs_while_there_is_time(clock):
    module = inference(clock, [], "a", [1.0])
    assert len(latency.interleaved([module], [()], 2, 9, seconds=4.5, warm_up=0)[0].taken) == 5
    assert len(latency.interleaved([module], [()], 2, 3, seconds=4.5, warm_up=0)[0].taken) == 3
    assert len(latency.interleaved([module], [()], 7, 9, seconds=4.5, warm_up=0)[0].taken) == 7
