"""Whether the rewritten float model is still the original function, where sums are taken in another order."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from fxconv.models import forward
from fxconv.verification import parity
from fxconv.verification.parity import StageParity
from rewrites import Rewritten
from rewrites.parts import copied

# Of the output's largest magnitude: what a sum in another order moves in float64, a hundred times over.
DOUBLE_TOLERANCE = 1e-12
# Convolutions in float64 take ten times as long.
_IMAGES = 1


def same_function(
    model: nn.Module, rewritten: Rewritten, reference: forward.Outputs, images: Sequence[tuple[Any, ...]]
) -> StageParity:
    """The ledger's first row: `rewritten` against the `reference` outputs of `model`, on these inputs.

    Equal, or within the tolerance its passes declare. A deep network may amplify the rounding of float32 beyond that,
    its own no less than ours: then both run in float64, where a difference in meaning stays and rounding is gone.
    """
    found = forward.outputs(rewritten.module, images)
    row = parity.same_function("rewritten", reference, found, rewritten.tolerance)
    if row.passed or not rewritten.tolerance or math.isinf(row.max_abs_diff):
        return row
    try:
        doubled = _doubled(images[:_IMAGES])
        wanted = forward.outputs(copy.deepcopy(model).double(), doubled)
        found = forward.outputs(copied(rewritten.module).double(), doubled)
    except RuntimeError:  # it makes float32 tensors of its own, and does not mix the two
        return row
    if any(value.dtype != torch.float64 for value in wanted[0]):
        return row
    in_double = parity.same_function("rewritten", wanted, found, DOUBLE_TOLERANCE)
    rule = f"{in_double.rule} in float64"
    if in_double.passed:
        return replace(row, passed=True, problem="", rule=rule)
    return replace(row, problem=f"{row.problem}; in float64 {in_double.problem}", rule=f"{row.rule}, or {rule}")


def _doubled(images: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [
        tree_map(lambda leaf: leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, image)
        for image in images
    ]
