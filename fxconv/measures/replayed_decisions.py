"""The float model's decisions, replayed while its int8 form runs, so that the two can be compared.

A detector selects: the best thousand boxes, those above a threshold, those that no better one overlaps. Where int8
moves a score by one step another box is selected, and from there on the two runs have nothing in common that could be
subtracted. So the selections (every whole number, index or truth value made from fractional ones outside of the int8
graphs) are recorded while the float model runs, and handed to the int8 model when it asks the same question; all that
is continuous, logits, boxes, scores, flow, it computes by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fxconv.measures.matched_boxes import class_by_class
from fxconv.models import forward
from fxconv.models.dispatch import passed_on
from fxconv.models.graph_calls import GraphResults, Inputs
from rewrites.parts import graphs_in

# What Python asks a tensor of one value for.
_NUMBER = "aten::_local_scalar_dense"
_SUPPRESSING = "torchvision::nms"
# What stands where by these depends on all values: ones that are nearly equal change places in int8, rightly.
_BY_RANK = frozenset({"argsort", "nonzero", "searchsorted", "bucketize"})
# Operators that hand back values along a dim and, second, where they stood.
_RANKING = frozenset({"topk", "sort", "max", "min", "kthvalue", "median", "mode", "cummax", "cummin"})


class Diverged(Exception):
    """The two runs do not ask the same questions, so one's answers cannot be given to the other."""


class _Decisions(TorchDispatchMode):
    """Records the decisions of one run, or replays those of another; what happens inside graphs is left alone."""

    def __init__(self, replayed: Sequence[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        self.made: list[tuple[str, Any]] = []
        self.boxes: list[Tensor] = []
        self.own: list[tuple[Tensor, Tensor]] = []
        self.branches: list[tuple[bool, bool]] = []
        self.replayed = replayed
        self.inside = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = passed_on(func, args, kwargs or {})
        if self.inside or func._schema.is_mutable or not _decides(func, args, out):
            return out
        name = func._schema.name
        if name == _SUPPRESSING:
            self.boxes.append(args[0].clone())
        if self.replayed is None:
            self.made.append((name, out))
            return out
        if len(self.made) == len(self.replayed) or self.replayed[len(self.made)][0] != name:
            raise Diverged(name)
        other = self.replayed[len(self.made)][1]
        self.made.append((name, other))
        answer = _answered(func, args, kwargs or {}, out, other)
        if isinstance(out, Tensor) and isinstance(other, Tensor) and out.shape == other.shape:
            if _branches(name, out):
                self.branches.append((bool(other), bool(out)))
            elif name.removeprefix("aten::") not in _BY_RANK:
                self.own.append((answer, out))
        return answer

    def owned(self, result: Sequence[Tensor]) -> list[Tensor]:
        """What a replaying run returned, with its own answers where it returned those that it was given."""
        places = {answer.untyped_storage().data_ptr(): (answer, out) for answer, out in self.own}
        found = []
        for value in result:
            answer, out = places.get(value.untyped_storage().data_ptr(), (None, None))
            same = answer is not None and out is not None and answer.numel() == value.numel()
            found.append(out.reshape(value.shape) if same and out is not None else value)
        return found

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
    if func._schema.name == _NUMBER:
        return True
    return any(isinstance(leaf, Tensor) and not leaf.is_floating_point() for leaf in tree_leaves(out))


def _branches(name: str, out: Any) -> bool:
    """Whether a decision is one number or truth value, as of a branch or a loop, which select nothing among values."""
    return name == _NUMBER or (isinstance(out, Tensor) and out.dtype == torch.bool and out.numel() == 1)


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


@dataclass(frozen=True)
class ComparedOutputs:
    """Outputs of a model and of its int8 form taking the model's decisions, a list for each image, in the same order.

    The first `returned` are what the model returns; behind them stands what each call of its graphs gives: logits and
    box regressions, say, before anything is selected by them. `last` says which of those no other graph is given as
    they are, where something is selected by them; of those that lead to others nobody sees the single channels.
    `incomparable` says why what the model returns is not among them, "" when it is. `boxes` are, for each image, those
    that float and int8 gave to each suppression of overlapping ones; `origins` says of what graphs give which graph it
    is, and which of its outputs.
    """

    wanted: forward.Outputs
    got: forward.Outputs
    returned: int
    last: tuple[int, ...] = ()
    incomparable: str = ""
    boxes: tuple[tuple[list[Tensor], list[Tensor]], ...] = ()
    origins: tuple[tuple[str, int], ...] = ()


def compared_outputs(
    floating: nn.Module, int8: nn.Module, original: forward.Outputs | None, images: Sequence[Inputs]
) -> ComparedOutputs:
    """Outputs of the float model and of its int8 form taking the float model's decisions, for each image.

    A model that selects nothing but branches runs as it is: where int8 takes another branch, its answer is another one.
    One that selects gets float's decisions, so that the same boxes are selected, and what it returns is compared as
    long as it asks the same questions; what it would have answered itself is compared where that is what is returned,
    and its branches stand behind everything else, as truth values. `floating` has the same graphs as `int8`; `original`
    is what the original model gives for the same images, None where `floating` itself is what counts.
    """
    with nullcontext() if original is not None else class_by_class():
        runs = [_both(floating, int8, image) for image in images]
    if original is None:
        original = [run.original for run in runs]
    incomparable = next((run.diverged for run in runs if run.diverged), "")
    for returned, run in zip(original, runs, strict=True):
        if not incomparable and [value.shape for value in returned] != [value.shape for value in run.result]:
            incomparable = "int8 selects other values than float does"
    count = 0 if incomparable else len(original[0])
    is_selected_by = bool(incomparable) or any(run.selects for run in runs)
    graphs = min(min(len(run.ours), len(run.theirs)) for run in runs)  # where a run ended early
    alike = all(a.shape == b.shape for run in runs for a, b in zip(run.ours[:graphs], run.theirs, strict=False))
    if not is_selected_by and not alike:
        graphs = 0  # another branch runs other graphs
    wanted = [[*returned[:count], *run.ours[:graphs]] for returned, run in zip(original, runs, strict=True)]
    got = [[*run.result[:count], *run.theirs[:graphs]] for run in runs]
    if any(run.branches for run in runs):
        for ours, theirs, run in zip(wanted, got, runs, strict=True):
            ours.append(torch.tensor([answer for answer, _ in run.branches]))
            theirs.append(torch.tensor([answer for _, answer in run.branches]))
    handed_on = set[int]().union(*(run.handed_on for run in runs))
    places = range(count, count + graphs)
    last = tuple(place for place in places if is_selected_by and place - count not in handed_on)
    boxes, origins = tuple(run.boxes for run in runs), tuple(runs[0].origins)
    return ComparedOutputs(wanted, got, count, last, incomparable, boxes, origins)


@dataclass(frozen=True)
class _Run:
    """One image through both: what they returned, what their graphs gave, and the boxes they suppressed among."""

    original: list[Tensor]
    result: list[Tensor]
    ours: list[Tensor]
    theirs: list[Tensor]
    handed_on: frozenset[int]
    boxes: tuple[list[Tensor], list[Tensor]]
    branches: list[tuple[bool, bool]]
    origins: list[tuple[str, int]]
    selects: bool
    diverged: str


def _both(floating: nn.Module, int8: nn.Module, image: Inputs) -> _Run:
    recording = _Decisions()
    ours = GraphResults()
    original = _tensors(_run(floating, image, recording, ours))
    selects = not all(_branches(name, out) for name, out in recording.made)
    replaying, theirs = _Decisions(recording.made if selects else None), GraphResults()
    result, diverged = list[Tensor](), ""
    try:
        result = _tensors(_run(int8, image, replaying, theirs))
    except Diverged as error:
        diverged = f"int8 decides otherwise than float does ({error})"
    result = replaying.owned(result)
    graphs = _tensors(ours.values), _tensors(theirs.values)
    boxes, branches = (recording.boxes, replaying.boxes), replaying.branches
    return _Run(original, result, *graphs, frozenset(ours.handed_on), boxes, branches, ours.origins, selects, diverged)


def _run(module: nn.Module, image: Inputs, mode: _Decisions, results: GraphResults) -> Any:
    hooks = mode.hooks_on(module)
    try:
        with torch.no_grad(), mode:
            return results.of(module, image)
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(value: Any) -> list[Tensor]:
    return [tensor.detach() for tensor in forward.tensors(value)]
