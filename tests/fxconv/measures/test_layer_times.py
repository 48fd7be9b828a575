"""Times of layers are medians by two clocks, the models in turn; the clocks are pretended ones."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fxconv.measures.layer_times import LayerTime, layer_times


def test_medians_of_each_layer_by_the_wall_and_by_cpu_time(monkeypatch):
    now, order = SimpleNamespace(wall=50.0, thread=9.0), list[str]()
    monkeypatch.setattr(time, "perf_counter", lambda: now.wall)
    monkeypatch.setattr(time, "thread_time", lambda: now.thread)

    class Layer(nn.Module):
        def __init__(self, name: str, *seconds: float) -> None:
            super().__init__()
            self.name, self.seconds = name, iter(seconds)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            took = next(self.seconds)
            order.append(self.name)
            now.wall += took
            now.thread += took / 2
            return x

    first = nn.Sequential(Layer("a", *[0.002] * 6, 0.9), Layer("skipped", *[1.0] * 7))
    second = nn.Sequential(Layer("b", *[0.004] * 7), nn.Identity())
    found = layer_times((first, second), ["0"], (torch.zeros(1),))
    assert found[0] == {"0": LayerTime(pytest.approx(2.0), pytest.approx(1.0))}
    assert found[1] == {"0": LayerTime(pytest.approx(4.0), pytest.approx(2.0))}
    assert order == ["a", "skipped", "b"] * 7
    assert not first[0]._forward_hooks


def test_a_layer_that_does_not_run_has_no_time():
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Identity(), nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    (found,) = layer_times([Beside()], ["used", "unused"], (torch.zeros(1),))
    assert list(found) == ["used"]
