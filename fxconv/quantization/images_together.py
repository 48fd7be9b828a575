"""Whether images may go through a model together: whether it answers a pair of them as it answers each alone.

An artifact sees one image at a time. A model that divides by the largest value of its batch, or standardizes by its
mean, answers otherwise in company, and ranges observed in batches are others than the artifact needs. So a pair and its
two images are run, once a conversion, and everything that calibration would observe is compared, and every output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxconv.data.calibration import CalibrationData
from fxconv.measures.output_comparison import noise_of, within
from fxconv.models import forward
from fxconv.models.signature import InputSignature
from rewrites import Rewritten
from rewrites.parts import copied, graphs_in
from rewrites.values import submodule

# Of an output's largest magnitude, and of the width of what a module gives: what kernels for batches round otherwise.
# A deep network may amplify it; then float64 tells, in which rounding is next to nothing.
_TOLERANCE, _DOUBLE_TOLERANCE = 1e-5, 1e-9
# The second image is made this much weaker than the first: two that happen to be alike in what a model computes of them
# would tell nothing.
_WEAKER = 0.5

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class ImagePair:
    """Two images, each what one call takes, `[1, ...]`, of the same size."""

    first: Tensors
    second: Tensors

    @classmethod
    def of(cls, data: CalibrationData) -> ImagePair | None:
        """The first two images of these, the second weaker by half; None where there is one only."""
        rows = data.examples(2)
        if len(rows) < 2:
            return None
        first, second = rows
        if [value.shape for value in first] != [value.shape for value in second]:
            second = first
        return cls(first, tuple(map(_weaker, second, first)))

    @property
    def together(self) -> Tensors:
        """Both as one call takes them."""
        return tuple(torch.cat(values) for values in zip(self.first, self.second, strict=True))

    def doubled(self) -> ImagePair:
        """The same in float64."""
        first, second = (
            tuple(value.double() if value.is_floating_point() else value for value in image)
            for image in (self.first, self.second)
        )
        return ImagePair(first, second)


def _weaker(value: Tensor, than: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    power, other = float(value.norm()), float(than.norm())
    return value * (_WEAKER * other / power) if power and other else value


def is_for_one_image(model: nn.Module, rewritten: Rewritten, signature: InputSignature, pair: ImagePair) -> bool:
    """Whether the graph holds for a batch of one only: the forward made something of the example's size."""
    if not rewritten.fixed:
        return False
    both = [signature.arguments(pair.together)]
    try:
        wanted, found = forward.outputs(model, both), forward.outputs(rewritten.module, both)
    except Exception:  # whatever a graph made for one image raises for two
        return True
    return not within(wanted, found, rewritten.tolerance)


def answers_together(module: nn.Module, signature: InputSignature, pair: ImagePair) -> bool:
    """Whether a graph gives for two images what it gives for each of them, everywhere.

    Where rounding may be all that differs it is asked once more in float64.
    """
    try:
        if _is_alike(module, signature, pair, _TOLERANCE):
            return True
        return _is_alike(copied(module).double(), signature, pair.doubled(), _DOUBLE_TOLERANCE)
    except Exception:  # whatever a model raises that takes one image at a time, or float32 only
        return False


def _is_alike(module: nn.Module, signature: InputSignature, pair: ImagePair, tolerance: float) -> bool:
    watching = _Watching(module, tolerance)
    alone = [watching.outputs(signature.arguments(image)) for image in (pair.first, pair.second)]
    both = watching.outputs(signature.arguments(pair.together))
    if not watching.is_alike:
        return False
    if signature.as_list and len(both) == sum(map(len, alone)):
        return _equal(both, [*alone[0], *alone[1]], tolerance)
    if not len(both) == len(alone[0]) == len(alone[1]):
        return False
    triples = zip(both, alone[0], alone[1], strict=True)
    return all(_is_joined(joined, first, second, tolerance) for joined, first, second in triples)


def _is_joined(both: Tensor, first: Tensor, second: Tensor, tolerance: float) -> bool:
    """Whether an output for a pair is made of those for its images, or the same for all of them."""
    dim = _joined_along(both.shape, first.shape, second.shape)
    if dim is not None:
        return _equal([both], [torch.cat([first, second], dim)], tolerance)
    return both.shape == first.shape == second.shape and _equal([both, both], [first, second], tolerance)


def _equal(found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> bool:
    if [value.shape for value in found] != [value.shape for value in wanted]:
        return False
    pairs = zip(map(_real, wanted), map(_real, found), strict=True)
    return all(noise_of([a], [b]).is_within(tolerance) for a, b in pairs)


def _real(value: Tensor) -> Tensor:
    return torch.view_as_real(value) if value.is_complex() else value


def _joined_along(both: Sequence[int], first: Sequence[int], second: Sequence[int]) -> int | None:
    """The dimension along which a shape is that of two others joined; None when it is not."""
    if not len(both) == len(first) == len(second):
        return None
    differing = [dim for dim, sizes in enumerate(zip(both, first, second, strict=True)) if len(set(sizes)) > 1]
    if len(differing) != 1 or both[differing[0]] != first[differing[0]] + second[differing[0]]:
        return None
    return differing[0]


Ends = tuple[float, float]


class _Watching:
    """Runs a graph on two images and then on both, and compares the extremes of all that its modules give."""

    def __init__(self, module: nn.Module, tolerance: float) -> None:
        self.module, self.tolerance, self.is_alike = module, tolerance, True
        self.runs: list[list[tuple[torch.Size, Ends]]] = []
        graphs = graphs_in(module).values()
        called = ((graph, node) for graph in graphs for node in graph.graph.nodes if node.op == "call_module")
        self.parts = {part for graph, node in called if (part := _part(graph, node)) is not None}

    def outputs(self, arguments: tuple[Any, ...]) -> list[Tensor]:
        """What the graph returns for these arguments."""
        self.runs.append([])
        hooks = [part.register_forward_hook(self._see) for part in self.parts]
        try:
            return forward.outputs(self.module, [arguments])[0]
        finally:
            for hook in hooks:
                hook.remove()

    def _see(self, _: nn.Module, __: Any, value: Any) -> None:
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
            return
        alone, run = self.runs[:2], self.runs[-1]
        if len(self.runs) == 3 and self.is_alike:
            place = len(run)
            self.is_alike = all(len(one) > place for one in alone) and self._is_seen(
                value, *(one[place] for one in alone)
            )
        run.append((value.shape, _ends(value) if len(self.runs) < 3 else (0.0, 0.0)))

    def _is_seen(self, value: Tensor, first: tuple[torch.Size, Ends], second: tuple[torch.Size, Ends]) -> bool:
        """Whether a value for a pair reaches as far as those for its images did."""
        dim = _joined_along(value.shape, first[0], second[0])
        if dim is not None:
            parts = value.split([first[0][dim], second[0][dim]], dim)
            return all(map(self._is_as_wide, map(_ends, parts), (first[1], second[1])))
        if value.shape == first[0] == second[0]:
            return all(self._is_as_wide(_ends(value), ends) for ends in (first[1], second[1]))
        return False

    def _is_as_wide(self, found: Ends, wanted: Ends) -> bool:
        slack = self.tolerance * max(map(abs, wanted))
        return all(abs(a - b) <= slack for a, b in zip(found, wanted, strict=True))


def _part(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    part = submodule(graph, node)
    return None if isinstance(part, fx.GraphModule) else part


def _ends(value: Tensor) -> Ends:
    least, most = torch.aminmax(value.detach())
    return least.item(), most.item()
