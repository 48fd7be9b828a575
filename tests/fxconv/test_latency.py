"""Latency is the median of runs taken in turn, with one thread; the clock here is a pretended one."""

from __future__ import annotations

import pytest
import torch

from fxconv import latency


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
    latency.settle_mobile_threads()
    assert torch.get_num_threads() == 2
