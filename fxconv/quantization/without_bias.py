"""What the last layers give without their biases, observed beside what they give."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import QConfig

from fxconv.quantization.expected_ranges import has_seen, own_range
from fxconv.quantization.forward_hooks import ForwardHooks
from fxconv.quantization.observers import RangeObserver
from rewrites.base import Refusal
from rewrites.fusion import weighted
from rewrites.parts import graphs_in, prefixed
from rewrites.passes.bias_to_add import bias_holder, last_layers

_EPSILON = torch.finfo(torch.float32).eps
# Units of the last place: what float32 tells apart in as many steps as int8, and what it holds a hundred times finer.
_TOLD, _EXACT = 256.0, 256.0 * 100


class WithoutBias(ForwardHooks):
    """Observers of the outputs of a module's last int8 layers less their biases, by the paths of the layers.

    They see what the module `observed` runs on while this is entered. The biases are those that `BiasToAdd` would take
    out of the `rewritten` module.
    """

    def __init__(self, rewritten: nn.Module, observed: nn.Module) -> None:
        super().__init__()
        self.observers: dict[str, RangeObserver] = {}
        self.largest: dict[str, float] = {}
        for path, bias in _biases(rewritten):
            layer = observed.get_submodule(path)
            if isinstance(own_range(layer), RangeObserver) and isinstance(layer.qconfig, QConfig):
                beside = layer.qconfig.activation()
                beside.low, beside.high = -math.inf, math.inf  # whoever reads it reads the sum
                self.observers[path], self.largest[path] = beside, float(bias.abs().max())
                self.watched[weighted(layer)] = _noting(beside, bias)  # an activation behind it reads the sum, too

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        for observer in self.observers.values():
            observer.catch_up()  # what waits would take memory for as long as this is kept

    def add(self, other: WithoutBias) -> None:
        """Take in what another one saw of the same layers, in a copy of the module."""
        for path, observer in self.observers.items():
            observer.merge(other.observers[path])

    def but(self, paths: Collection[str]) -> WithoutBias:
        """The same without the layers at these paths."""
        left = copy.copy(self)
        left.observers = {path: observer for path, observer in self.observers.items() if path not in paths}
        return left

    def steps(self) -> dict[str, float]:
        """The steps of these outputs, of the layers whose sums tell them apart: in float32 they take 256 steps, too."""
        told = {path: observer for path, observer in self.observers.items() if self._ulps(path) >= _TOLD}
        return {path: float(observer.calculate_qparams()[0]) for path, observer in told.items()}

    def are_exact(self, paths: Collection[str]) -> bool:
        """Whether what was seen of these layers is what they give with no bias at all, but for a hundredth of a step.

        The sum was rounded as its size has it, and the bias taken off afterwards.
        """
        return all(self._ulps(path) >= _EXACT for path in paths)

    def _ulps(self, path: str) -> float:
        """The width of what a layer gives without its bias, in units of the last place of the sum."""
        observer = self.observers[path]
        if not has_seen(observer):
            return 0.0
        least, most = observer.min_val.item(), observer.max_val.item()
        return (most - least) / (_EPSILON * (self.largest[path] + max(abs(least), abs(most))))


def _biases(rewritten: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The paths of the last layers, and the bias of each that can be taken out, as it is added to the output."""
    for place, graph in graphs_in(rewritten).items():
        for node, chain in last_layers(graph).items():
            try:
                bias: Any = bias_holder(graph, chain).bias
            except Refusal:
                continue
            layer = graph.get_submodule(str(node.target))
            if bias.any():
                behind = 0 if isinstance(layer, nn.Linear) else len(layer.kernel_size)  # type: ignore[arg-type]
                yield prefixed(place, str(node.target)), bias.detach().reshape(-1, *(1 for _ in range(behind)))


def _noting(observer: RangeObserver, bias: Tensor) -> Any:
    def note(_: nn.Module, __: Any, output: Tensor) -> None:
        observer(output.detach() - bias)

    return note
