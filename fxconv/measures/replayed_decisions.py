"""The float model's decisions, replayed while its int8 form runs, so that the two can be compared.

A detector selects: the best thousand boxes, those above a threshold, those that no better one overlaps. Where int8
moves a score by one step another box is selected, and from there on the two runs have nothing in common that could be
subtracted. So the selections (every whole number, index or truth value made from fractional ones outside of the int8
graphs) are recorded while the float model runs, and handed to the int8 model when it asks the same question; all that
is continuous, logits, boxes, scores, flow, it computes by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fxconv.models import forward
from fxconv.models.dispatch import passed_on
from fxconv.models.graph_calls import Inputs, results_of
from rewrites.parts import graphs_in

# Operators that hand back values along a dim and, second, where they stood.
_RANKING = frozenset({"topk", "sort", "max", "min", "kthvalue", "median", "mode", "cummax", "cummin"})


class Diverged(Exception):
    """The two runs do not ask the same questions, so one's answers cannot be given to the other."""


class _Decisions(TorchDispatchMode):
    """Records the decisions of one run, or replays those of another; what happens inside graphs is left alone."""

    def __init__(self, replayed: Sequence[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        self.made: list[tuple[str, Any]] = []
        self.replayed = replayed
        self.inside = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = passed_on(func, args, kwargs or {})
        if self.inside or func._schema.is_mutable or not _decides(func, args, out):
            return out
        name = func._schema.name
        if self.replayed is None:
            self.made.append((name, out))
            return out
        if len(self.made) == len(self.replayed) or self.replayed[len(self.made)][0] != name:
            raise Diverged(name)
        other = self.replayed[len(self.made)][1]
        self.made.append((name, other))
        return _answered(func, args, kwargs or {}, out, other)

    def hooks_on(self, module: nn.Module) -> list[Any]:
        """Hooks that tell when a graph of `module` is running."""

        def enter(*_: Any) -> None:
            self.inside += 1

        def leave(*_: Any) -> None:
            self.inside -= 1

        graphs = graphs_in(module).values()
        return [graph.register_forward_pre_hook(enter) for graph in graphs] + [
            graph.register_forward_hook(leave) for graph in graphs
        ]


def _is_fractional(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _decides(func: Any, args: tuple[Any, ...], out: Any) -> bool:
    """Whether whole numbers or truth values are made of fractional numbers."""
    if not any(_is_fractional(leaf) for leaf in tree_leaves(args)):
        return False
    if func._schema.name == "aten::_local_scalar_dense":
        return True
    return any(isinstance(leaf, Tensor) and not leaf.is_floating_point() for leaf in tree_leaves(out))


def _answered(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, other: Any) -> Any:
    """The recorded answer; beside indices the values of this run that stand there."""
    if isinstance(out, Tensor) and isinstance(other, Tensor):
        if out.ndim != other.ndim:
            raise Diverged(func._schema.name)
        return other.clone()
    if not isinstance(out, Tensor) and not isinstance(out, (tuple, list)):
        return other
    if func._schema.name.removeprefix("aten::") not in _RANKING or len(out) != 2:
        raise Diverged(func._schema.name)
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    value, indices = given["self"], other[1].clone()
    dim = given.get("dim", -1)
    aligned = indices if indices.ndim == value.ndim else indices.unsqueeze(dim)
    found = torch.gather(value, dim, aligned)
    return type(out)((found if indices.ndim == value.ndim else found.squeeze(dim), indices))


def compared_outputs(
    floating: nn.Module, int8: nn.Module, original: forward.Outputs, images: Sequence[Inputs]
) -> tuple[forward.Outputs, forward.Outputs]:
    """Outputs of the float model and of its int8 form taking the float model's decisions, for each image.

    These are the outputs of each of its graphs: logits and box regressions, say, before anything is selected by them.
    What the model returns is compared as well where nothing is selected. Behind a selection it says more of that than
    of int8: of many boxes those are left whose scores came near to a threshold, or to each other. `floating` has the
    same graphs as `int8`; `original` is what the original model gives for the same images.
    """
    wanted, got = [], []
    for image, returned in zip(images, original, strict=True):
        recording = _Decisions()
        _, ours = _run(floating, image, recording)
        replaying = _Decisions(recording.made)
        result, theirs = _run(int8, image, replaying)
        selects = bool(recording.made)
        wanted.append([*([] if selects else returned), *_tensors(ours)])
        got.append([*([] if selects else _tensors(result)), *_tensors(theirs)])
    return wanted, got


def _run(module: nn.Module, image: Inputs, mode: _Decisions) -> tuple[Any, list[Any]]:
    hooks = mode.hooks_on(module)
    try:
        with torch.no_grad(), mode:
            return results_of(module, image)
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(value: Any) -> list[Tensor]:
    return [tensor.detach() for tensor in forward.tensors(value)]
