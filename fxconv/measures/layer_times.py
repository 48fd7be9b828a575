"""What some layers of a model take in eager mode, one thread, several models in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fxconv.measures.latency import single_thread
from fxconv.models import forward
from fxconv.models.graph_calls import Inputs

_RUNS = 7


@dataclass(frozen=True)
class LayerTime:
    """Median milliseconds of a layer in one inference: by the wall, and what its thread worked."""

    ms: float
    cpu_ms: float


def layer_times(modules: Sequence[nn.Module], paths: Sequence[str], example: Inputs) -> list[dict[str, LayerTime]]:
    """For each model the times of its layers at these paths, of those that run."""
    taken: list[dict[str, list[tuple[float, float]]]] = [{path: [] for path in paths} for _ in modules]
    hooks = []
    for module, times in zip(modules, taken, strict=True):
        for path, each in times.items():
            hooks += _hooks(module.get_submodule(path), each)
    try:
        with single_thread(), torch.no_grad():
            for _ in range(_RUNS):
                for module in modules:
                    module(*forward.cloned(example))
    finally:
        for hook in hooks:
            hook.remove()
    return [{path: _median(each) for path, each in times.items() if each} for times in taken]


def _hooks(layer: nn.Module, times: list[tuple[float, float]]) -> list[Any]:
    begun = [(0.0, 0.0)]

    def start(*_: Any) -> None:
        begun[0] = time.thread_time(), time.perf_counter()

    def stop(*_: Any) -> None:
        wall, thread = time.perf_counter(), time.thread_time()
        times.append((1000 * (wall - begun[0][1]), 1000 * (thread - begun[0][0])))

    return [layer.register_forward_pre_hook(start), layer.register_forward_hook(stop)]


def _median(times: Sequence[tuple[float, float]]) -> LayerTime:
    wall, thread = zip(*times, strict=True)
    return LayerTime(statistics.median(wall), statistics.median(thread))
