"""Whether an artifact holds at other input sizes than the one it was made with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxconv.models import forward
from fxconv.models.signature import InputSignature
from fxconv.verification import parity
from fxconv.verification.lowered_outputs import comparable_outputs
from fxconv.verification.same_function import same_function
from rewrites import Rewritten

# Height and width of the inputs tried, as shares of the example's, rounded to the next multiple of 32 pixels beyond.
_SHARES = ((0.75, 1.25), (1.25, 1.0))
_MULTIPLE = 32


@dataclass(frozen=True)
class SizeCheck:
    """One other input size (height, width in pixels), and what is wrong there; "" when nothing is."""

    size: tuple[int, int]
    problem: str

    @property
    def warning(self) -> str:
        """What the user must know, as a sentence; "" when the size works."""
        if not self.problem:
            return ""
        return f"the artifact is for the example's input size only: at {self.size[0]}x{self.size[1]} {self.problem}"


class TakesPixels(Protocol):
    """How the tensors of a model become the pixels that its artifact takes, and pixels those tensors."""

    def pixels(self, tensors: Sequence[Tensor], /) -> tuple[Tensor, ...]:
        """The pixels of normalized tensors."""
        ...

    def floats(self, pixels: Sequence[Tensor], /) -> tuple[Tensor, ...]:
        """The normalized tensors of pixels."""
        ...


def other_sizes(
    model: nn.Module,
    rewritten: Rewritten,
    int8: nn.Module,
    signature: InputSignature,
    load: Callable[[], Callable[..., Any]],
    tensors: tuple[Tensor, ...],
    is_traced: bool = False,
    inside: TakesPixels | None = None,
) -> tuple[SizeCheck, ...]:
    """Try the artifact, which `load` gives, at two other sizes, where anything in it may depend on the size.

    `int8` takes `tensors`, as the artifact does, `model` and `rewritten` what `signature` makes of them; with `inside`
    int8 and artifact take pixels, of which those tensors were made. Nothing is tried when all of the model is one graph
    that decided nothing by size and was scripted, as it is for all sizes then, nor where the float model takes no other
    size. A trace is for the example's size wherever Python computed with it.
    """
    if inside is not None:
        tensors = inside.floats(tensors)
    if isinstance(int8, fx.GraphModule) and not rewritten.fixed and not is_traced:
        return ()
    checks = []
    for shares in _SHARES:
        resized = tuple(_resized(value, shares) for value in tensors)
        if [value.shape for value in tensors] == [value.shape for value in resized]:
            continue
        taken = resized
        if inside is not None:
            taken = inside.pixels(resized)
            resized = inside.floats(taken)
        images = [signature.arguments(resized)]
        try:
            wanted = forward.outputs(model, images)
        except Exception:  # whatever a model raises that takes one size only
            return ()
        found = _problem(model, rewritten, int8, load(), images, taken, wanted)
        height, width = next(value.shape[-2:] for value in resized if value.ndim > 2)
        checks.append(SizeCheck((height, width), found))
    return tuple(checks)


def _problem(
    model: nn.Module,
    rewritten: Rewritten,
    int8: nn.Module,
    artifact: Any,
    images: list[tuple[Any, ...]],
    tensors: tuple[Tensor, ...],
    wanted: forward.Outputs,
) -> str:
    try:
        row = same_function(model, rewritten, wanted, images)
        if not row.passed:
            return f"it computes something else than the model ({row.problem})"
        reference = forward.outputs(int8, [tensors]) if isinstance(int8, fx.GraphModule) else []
        both = comparable_outputs(int8, artifact, reference, [tensors])
        row = parity.same_bits("reloaded", *both, has_islands=True)
        return "" if row.passed else f"tracing has fixed what depends on the size ({row.problem})"
    except Exception as error:  # whatever a graph made for one size raises at another
        return f"it fails ({type(error).__name__})"


def _beyond(side: int, share: float) -> int:
    """The multiple next to `share` of a side, away from the side itself: another size of a small image too."""
    rounded = math.ceil if share > 1 else math.floor
    return max(_MULTIPLE, rounded(side * share / _MULTIPLE) * _MULTIPLE)


def _resized(value: Tensor, shares: tuple[float, float]) -> Tensor:
    """An image at these shares of its height and width; any other tensor as it is."""
    if value.ndim < 3 or not value.is_floating_point():
        return value
    sides = [_beyond(side, share) for side, share in zip(value.shape[-2:], shares, strict=True)]
    flat = value.reshape(1, -1, *value.shape[-2:])
    with torch.no_grad():
        return F.interpolate(flat, sides, mode="bilinear", align_corners=False).reshape(*value.shape[:-2], *sides)
