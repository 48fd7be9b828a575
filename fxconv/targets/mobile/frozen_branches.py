"""What `torch.jit.trace` takes once and for all from the numbers in a tensor: branches, and numbers given to Python.

A trace records operators. What Python does with a number in between, `if torch.equal(a, b)`, `float(x.max())`, stands
in the file as the example had it. The tracer's own warnings leave out half of the ways to ask, and cannot tell a
number from a size. So a second trace, which is thrown away, is watched: a mode of torch's sees every call, and the
graph being recorded says what the tensor that is asked depends on.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from fxconv.models.checks_in_code import is_check
from fxconv.models.number_reads import GIVES_NUMBERS, is_library, is_torchvision
from fxconv.targets.mobile.trace_values import TraceValues
from rewrites.location import short

# They make as many tensors as there are rows.
_GIVES_ROWS = frozenset(
    {
        *(Tensor.unbind, Tensor.split, Tensor.split_with_sizes, Tensor.chunk, Tensor.tensor_split),
        *(torch.unbind, torch.functional.split, torch.split, torch.split_with_sizes, torch.chunk, torch.tensor_split),
    }
)
# They may make a new tensor of numbers, which the tracer takes for a constant.
_MAKES_CONSTANTS = frozenset(
    {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor, Tensor.data.__get__}  # type: ignore[attr-defined]
)
_MAKES_TEXT = frozenset({Tensor.__repr__, Tensor.__format__})
# A message names this many lines.
_SHOWN = 3


@dataclass
class FrozenBranches:
    """Lines of Python that got numbers of a tensor: `net.py:17 (if x.max() > 0:)`.

    `branches` are those where another input may go another way, or have another number; `checks` only decide whether
    to raise; `texts` made words of numbers.
    """

    branches: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def lines(self) -> set[str]:
        """All of these lines, without their code."""
        return {place.partition(" (")[0] for place in (*self.branches, *self.checks, *self.texts)}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know of a file that was traced so."""
        frozen = "frozen, as the example took them: what is decided by the numbers in a tensor at "
        checks = "not in the file, which was traced: the check of the numbers in a tensor at "
        texts = "made once, while tracing: the text of the numbers in a tensor at "
        told = ((frozen, self.branches), (checks, self.checks), (texts, self.texts))
        return tuple(words + named(places) for words, places in told if places)


def named(places: Sequence[str]) -> str:
    """The first few of these, and how many more there are."""
    return ", ".join(places[:_SHOWN]) + (f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else "")


@contextmanager
def watched() -> Iterator[FrozenBranches]:
    """While it is open, one trace is watched.

    Not the one that makes the file: torch's own layers take another way, unfused, while a mode is active.
    """
    found = FrozenBranches()
    with _Watch(found):
        yield found


class _Watch(TorchFunctionMode):
    def __init__(self, found: FrozenBranches) -> None:
        super().__init__()
        self.found, self.values = found, TraceValues()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch._C._is_tracing() and func in _WATCHED:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            frames = list(_frames(sys._getframe(1)))
            own = next((place for place, frame in enumerate(frames) if not is_library(frame.f_code.co_filename)), 0)
            # torchvision writes its code to be traced: what it decides by numbers then is the same for all of them
            if not is_torchvision(frames[own].f_code.co_filename):
                self._keep(func, tensors, result, frames, own)
        return result

    def _keep(self, func: Any, tensors: list[Tensor], result: Any, frames: list[FrameType], own: int) -> None:
        if not self._is_frozen(func, tensors, result):
            return
        if func in _MAKES_TEXT:
            places = self.found.texts
        else:
            places = self.found.checks if is_check(frames[: own + 1], frames) else self.found.branches
        place = _place(frames[own])
        if place not in places:
            places.append(place)

    def _is_frozen(self, func: Any, tensors: list[Tensor], result: Any) -> bool:
        if func in _GIVES_ROWS:
            return self.values.vary(tensors)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)] if func in _MAKES_CONSTANTS else []
        return self.values.depend(tensors) and not (made and self.values.depend(made))


_WATCHED = GIVES_NUMBERS | _GIVES_ROWS | _MAKES_CONSTANTS | _MAKES_TEXT


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames from this one outwards to where `torch.jit.trace` was called."""
    while frame is not None and frame.f_code is not torch.jit.trace.__code__:
        yield frame
        frame = frame.f_back


def _place(frame: FrameType) -> str:
    filename, line = frame.f_code.co_filename, frame.f_lineno
    code = linecache.getline(filename, line).strip()
    where = "the graph that was traced" if filename.startswith("<eval_with_key>") else f"{short(filename)}:{line}"
    return f"{where} ({code})" if code else where
