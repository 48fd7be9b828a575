"""The parity ledger: after every step, whether the module still computes what it computed before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

# Where a float island lies between int8 layers the mobile passes may re-associate float sums.
ISLAND_SQNR_DB = 40.0
LEDGER_IMAGES = 16
# The forms between the int8 module and the file are compared on fewer: the file itself is compared on all.
BETWEEN_IMAGES = 4

Outputs = list[list[Tensor]]


@dataclass(frozen=True)
class StageParity:
    """One row of the ledger: a stage compared with the one it must equal, over all images and outputs.

    `sqnr_db` is 10 log10 of signal power over noise power, infinite when bit-identical. `top1_agreement`
    is a share from 0 to 1, None when no output is a row of class scores. `problem` says what is wrong when it did
    not pass.
    """

    stage: str
    against: str
    max_abs_diff: float
    sqnr_db: float
    top1_agreement: float | None
    rule: str
    passed: bool
    images: int
    problem: str = ""


def outputs(module: Callable[..., Any], images: Sequence[tuple[Any, ...]]) -> Outputs:
    """The floating-point outputs for each example, in the order the structure lists them."""
    with torch.no_grad():
        return [[leaf.detach() for leaf in tree_leaves(module(*image)) if isinstance(leaf, Tensor)] for image in images]


def _shape_problem(reference: Outputs, found: Outputs) -> str:
    for expected, got in zip(reference, found, strict=True):
        if [t.shape for t in expected] != [t.shape for t in got]:
            return f"outputs of shape {[tuple(t.shape) for t in got]}, not {[tuple(t.shape) for t in expected]}"
    return ""


def _noise(reference: Outputs, found: Outputs) -> tuple[float, float, float]:
    """(largest difference, SQNR in dB, largest reference value); differences that are not numbers are infinite."""
    largest, peak, signal, noise = 0.0, 0.0, 0.0, 0.0
    for expected, got in zip(reference, found, strict=True):
        for a, b in zip(expected, got, strict=True):
            if not a.numel():
                continue
            a64, b64 = a.double(), b.double()
            difference = torch.where(a64 == b64, torch.zeros_like(a64), a64 - b64).abs().nan_to_num(math.inf, math.inf)
            largest = max(largest, difference.max().item())
            peak = max(peak, a64.abs().max().item())
            signal += a64.square().sum().item()
            noise += difference.square().sum().item()
    if noise == 0:
        return largest, math.inf, peak
    return largest, 10 * math.log10(signal / noise) if signal and math.isfinite(noise) else -math.inf, peak


def _agreement(reference: Outputs, found: Outputs) -> float | None:
    pairs = [(a[0], b[0]) for a, b in zip(reference, found, strict=True) if a and a[0].ndim == 2 and a[0].shape[1] > 1]
    if not pairs:
        return None
    same = [(a.argmax(1) == b.argmax(1)).float().mean().item() for a, b in pairs]
    return sum(same) / len(same)


def _row(
    stage: str,
    against: str,
    reference: Outputs,
    found: Outputs,
    rule: str,
    accept: Callable[[float, float, float], bool],
) -> StageParity:
    problem = _shape_problem(reference, found)
    if problem:
        return StageParity(stage, against, math.inf, -math.inf, None, rule, False, len(reference), problem)
    largest, sqnr, peak = _noise(reference, found)
    passed = accept(largest, sqnr, peak)
    if not passed:
        problem = f"SQNR {sqnr:.1f} dB, largest difference {largest:.3g}"
    return StageParity(
        stage, against, largest, sqnr, _agreement(reference, found), rule, passed, len(reference), problem
    )


def same_function(stage: str, reference: Outputs, found: Outputs, tolerance: float) -> StageParity:
    """The rewritten float model against the original: equal, or within the tolerance its passes declare."""
    rule = f"within {tolerance:g} of the largest output" if tolerance else "equal"
    return _row(
        stage,
        "original",
        reference,
        found,
        rule,
        lambda diff, _, peak: diff <= tolerance * peak if tolerance else diff == 0,
    )


def close_enough(stage: str, reference: Outputs, found: Outputs, min_sqnr: float) -> StageParity:
    """The int8 module against the original float model: at least `min_sqnr` decibels."""
    return _row(stage, "original", reference, found, f"at least {min_sqnr:g} dB", lambda _, sqnr, __: sqnr >= min_sqnr)


def same_bits(stage: str, reference: Outputs, found: Outputs, has_islands: bool) -> StageParity:
    """A lowered form against the int8 module: bit for bit, or at least 40 dB where a float island lies between."""
    rule = f"equal, or {ISLAND_SQNR_DB:g} dB across float islands" if has_islands else "equal"
    return _row(
        stage,
        "int8",
        reference,
        found,
        rule,
        lambda diff, sqnr, _: diff == 0 or (has_islands and sqnr >= ISLAND_SQNR_DB),
    )


def unreadable(stage: str, error: BaseException) -> StageParity:
    """The row for a file that does not load or run."""
    first = (str(error).strip().splitlines() or [""])[0]
    problem = f"the file does not load or run: {type(error).__name__}: {first}"
    return StageParity(stage, "int8", math.inf, -math.inf, None, "equal", False, 0, problem)
