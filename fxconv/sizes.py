"""Whether an artifact holds at other input sizes than the one it was made with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxconv import verify
from fxconv.decisions import told_apart
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


def other_sizes(
    model: nn.Module, rewritten: Rewritten, int8: nn.Module, artifact: Any, image: tuple[Any, ...]
) -> tuple[SizeCheck, ...]:
    """Try the artifact at two other sizes, where anything in it may depend on the size.

    Nothing is tried when all of the model is one graph that decided nothing by size, nor where the float model itself
    takes no other size.
    """
    if isinstance(int8, fx.GraphModule) and not rewritten.fixed:
        return ()
    checks = []
    for shares in _SHARES:
        resized = tuple(_resized(value, shares) for value in image)
        if all(a.shape == b.shape for a, b in zip(verify.tensors(image), verify.tensors(resized), strict=True)):
            continue
        try:
            wanted = verify.outputs(model, [resized])
        except Exception:  # whatever a model raises that takes one size only
            return ()
        height, width = verify.tensors(resized)[0].shape[-2:]
        checks.append(SizeCheck((height, width), _problem(rewritten, int8, artifact, resized, wanted)))
    return tuple(checks)


def _problem(
    rewritten: Rewritten, int8: nn.Module, artifact: Any, image: tuple[Any, ...], wanted: verify.Outputs
) -> str:
    try:
        found = verify.outputs(rewritten.module, [image])
        row = verify.same_function("rewritten", wanted, found, rewritten.tolerance)
        if not row.passed:
            return f"it computes something else than the model ({row.problem})"
        both = told_apart(int8, artifact, verify.outputs(int8, [image]), [image])
        row = verify.same_bits("reloaded", *both, has_islands=True)
        return "" if row.passed else f"tracing has fixed what depends on the size ({row.problem})"
    except Exception as error:  # whatever a graph made for one size raises at another
        return f"it fails ({type(error).__name__})"


def _beyond(side: int, share: float) -> int:
    """The multiple next to `share` of a side, away from the side itself: another size of a small image too."""
    rounded = math.ceil if share > 1 else math.floor
    return max(_MULTIPLE, rounded(side * share / _MULTIPLE) * _MULTIPLE)


def _resized(value: Any, shares: tuple[float, float]) -> Any:
    """An image tensor at these shares of its height and width; lists of them member by member; others as they are."""
    if isinstance(value, (list, tuple)):
        return type(value)([_resized(item, shares) for item in value])
    if not isinstance(value, Tensor) or value.ndim < 3 or not value.is_floating_point():
        return value
    sides = [_beyond(side, share) for side, share in zip(value.shape[-2:], shares, strict=True)]
    flat = value.reshape(1, -1, *value.shape[-2:])
    with torch.no_grad():
        return F.interpolate(flat, sides, mode="bilinear", align_corners=False).reshape(*value.shape[:-2], *sides)
