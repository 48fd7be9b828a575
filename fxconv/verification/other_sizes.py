"""Whether an artifact holds at other input sizes than the one it was made with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from fxconv.verification.other_inputs import OtherInputs

# Height and width of the inputs tried, as shares of the example's, rounded to the next multiple of 32 pixels beyond.
_SHARES = ((0.75, 1.25), (1.25, 1.0))
_MULTIPLE = 32
# And one of sides that are no such multiples, about half as long again: what pads up to one does nothing at the others.
_HALVES = (1.5, 1.5)
# How many dimensions an image has.
_IMAGE = 4


@dataclass(frozen=True)
class SizeCheck:
    """One other input size (height, width in pixels), and what is wrong there; "" when nothing is.

    `decided` says by which lines, in words.
    """

    size: tuple[int, int]
    problem: str
    decided: str = ""

    @property
    def warning(self) -> str:
        """What the user must know, as a sentence; "" when the size works."""
        if not self.problem:
            return ""
        where = f"at {self.size[0]}x{self.size[1]} {self.problem}"
        told = f"; {self.decided}" if self.decided else ""
        return f"the artifact is for the example's input size only: {where}{told}"


def other_sizes(
    other: OtherInputs, tensors: tuple[Tensor, ...], wanted: Sequence[tuple[int, int]] | None = None
) -> tuple[SizeCheck, ...]:
    """Try the artifact, which takes `tensors`, at three other sizes, where anything in it may depend on the size.

    `wanted` are heights and widths of images to try instead. Those that the float model does not take are left out.
    """
    if wanted is None and not other.may_differ:
        return ()
    checks, tensors = [], other.floats(tensors)
    ways, least_rank = [partial(_shared, shares) for shares in (*_SHARES, _HALVES)], 3
    if wanted is not None:
        ways, least_rank = [partial(_wanted, size) for size in wanted], _IMAGE
    for sized in ways:
        resized = tuple(_resized(value, sized) if value.ndim >= least_rank else value for value in tensors)
        if [value.shape for value in tensors] == [value.shape for value in resized]:
            continue
        problem = other.problem(resized, "size")
        if problem is not None:
            height, width = next(value.shape[-2:] for value in resized if value.ndim >= least_rank)
            checks.append(SizeCheck((height, width), problem, other.decided if problem else ""))
    return tuple(checks)


def has_size(value: Tensor, size: tuple[int, int]) -> bool:
    """Whether a tensor is an image of this height and width."""
    return value.ndim == _IMAGE and tuple(value.shape[-2:]) == tuple(size)


def _beyond(side: int, share: float) -> int:
    """The multiple next to `share` of a side, away from the side itself: another size of a small image too."""
    rounded = math.ceil if share > 1 else math.floor
    return max(_MULTIPLE, rounded(side * share / _MULTIPLE) * _MULTIPLE)


def _between(side: int, share: float) -> int:
    """About `share` of a side, in the middle between two multiples."""
    return int(side * share // _MULTIPLE) * _MULTIPLE + _MULTIPLE // 2


def _shared(shares: tuple[float, float], sides: Sequence[int]) -> Sequence[int]:
    """These shares of height and width."""
    rounded = _between if shares is _HALVES else _beyond
    return [rounded(side, share) for side, share in zip(sides, shares, strict=True)]


def _wanted(size: Sequence[int], sides: Sequence[int]) -> Sequence[int]:
    """A size that is the same whatever the example's."""
    return size


def _resized(value: Tensor, sized: Callable[[Sequence[int]], Sequence[int]]) -> Tensor:
    """An image at the height and width that `sized` makes of its own; any other tensor as it is."""
    if value.ndim < 3 or not value.is_floating_point():
        return value
    sides = list(sized(value.shape[-2:]))
    flat = value.reshape(1, -1, *value.shape[-2:])
    with torch.no_grad():
        return F.interpolate(flat, sides, mode="bilinear", align_corners=False).reshape(*value.shape[:-2], *sides)
