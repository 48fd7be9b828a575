"""The parity ledger: after every step, whether the module still computes what it computed before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from fxconv.replay import ISLAND_SQNR_DB

# Folding batch norms re-associates float32 sums; what it computes stays this close even where a network amplifies that.
FUSED_SQNR_DB = 60.0
# This one is there only where layers were equalized.
EQUALIZED = "equalized"
# And this one where the weights were trained while they were rounded.
TRAINED = "trained"
STAGES = ("rewritten", "fused", EQUALIZED, TRAINED, "int8", "scripted", "optimized", "reloaded")
# SQNR needs several images; that bits are equal shows on few.
LEDGER_IMAGES = 8
BETWEEN_IMAGES = 1
RELOADED_IMAGES = 4
# That folding batch norms moves nothing shows on few, too; for models of several graphs, which run as a whole for it.
FUSED_IMAGES = 2

Outputs = list[list[Tensor]]


@dataclass(frozen=True)
class StageParity:
    """One row of the ledger: a stage compared with the one it must equal, over all images.

    Of several outputs the worst one is shown, and each must pass by itself.

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


def cloned(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same inputs in memory of their own: a model may write into what it is given (`x *= 2`)."""
    return tuple(tree_map(lambda value: value.clone() if isinstance(value, Tensor) else value, inputs))


def tensors(value: Any) -> list[Tensor]:
    """The tensors in nested inputs or outputs, in order."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def outputs(module: Callable[..., Any], images: Sequence[tuple[Any, ...]]) -> Outputs:
    """The floating-point outputs for each example, in the order the structure lists them."""
    with torch.no_grad():
        returned = (tree_leaves(module(*cloned(image))) for image in images)
        return [[leaf.detach() for leaf in leaves if isinstance(leaf, Tensor)] for leaves in returned]


def outputs_side_by_side(module: nn.Module, images: Sequence[tuple[Any, ...]]) -> Iterator[list[Tensor]]:
    """`outputs`, several examples at a time: a quantized kernel runs in one thread, and leaves the others idle.

    Modules that are not torch's or fxconv's may remember one call in the next, and are called one by one. The outputs
    of a few examples are held at a time.
    """
    ours = all(type(part).__module__.partition(".")[0] in ("torch", "rewrites", "fxconv") for part in module.modules())
    together = 2 * torch.get_num_threads() if ours else 1
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(images), together):
            some = images[start : start + together]
            yield from pool.map(lambda image: outputs(module, [image])[0], some)


def _shape_problem(reference: Outputs, found: Outputs) -> str:
    for expected, got in zip(reference, found, strict=True):
        if [t.shape for t in expected] != [t.shape for t in got]:
            return f"outputs of shape {[tuple(t.shape) for t in got]}, not {[tuple(t.shape) for t in expected]}"
    return ""


@dataclass(frozen=True)
class _Noise:
    """One output over all images; differences that are not numbers are infinite."""

    largest: float
    sqnr: float
    peak: float


def _noise(reference: Sequence[Tensor], found: Sequence[Tensor]) -> _Noise:
    largest, peak, signal, noise = 0.0, 0.0, 0.0, 0.0
    for a, b in zip(reference, found, strict=True):
        if not a.numel():
            continue
        a64, b64 = a.double(), b.double()
        difference = torch.where(a64 == b64, torch.zeros_like(a64), a64 - b64).abs().nan_to_num(math.inf, math.inf)
        largest = max(largest, difference.max().item())
        finite = torch.where(a64.isfinite(), a64, 0.0)  # infinity is a signal beside which any noise is silent
        peak = max(peak, finite.abs().max().item())
        signal += finite.square().sum().item()
        noise += difference.square().sum().item()
    if noise == 0:
        return _Noise(largest, math.inf, peak)
    return _Noise(largest, 10 * math.log10(signal / noise) if signal and math.isfinite(noise) else -math.inf, peak)


def _agreement(reference: Outputs, found: Outputs) -> float | None:
    pairs = [
        (a, b)
        for expected, got in zip(reference, found, strict=True)
        for a, b in zip(expected, got, strict=True)
        if a.ndim == 2 and a.shape[1] > 1
    ]
    if not pairs:
        return None
    same = [(a.argmax(1) == b.argmax(1)).float().mean().item() for a, b in pairs]
    return sum(same) / len(same)


def constant_outputs(reference: Outputs) -> list[int]:
    """The outputs that hold one and the same value everywhere, on all images: comparing them says nothing."""
    flat = [torch.cat([value.flatten() for value in values]) for values in zip(*reference, strict=True)]
    return [index for index, values in enumerate(flat) if values.numel() > 1 and bool((values == values[0]).all())]


def _row(
    stage: str,
    against: str,
    reference: Outputs,
    found: Outputs,
    rule: str,
    accept: Callable[[_Noise], bool],
) -> StageParity:
    """Each output is judged by itself: a loud one must not hide the noise of a quiet one. The worst is shown."""
    problem = _shape_problem(reference, found)
    if problem:
        return StageParity(stage, against, math.inf, -math.inf, None, rule, False, len(reference), problem)
    each = [
        _noise(expected, got)
        for expected, got in zip(zip(*reference, strict=True), zip(*found, strict=True), strict=True)
    ]
    failed = [index for index, noise in enumerate(each) if not accept(noise)]
    if failed:
        which = f"output {failed[0]}: " if len(each) > 1 else ""
        worst = each[failed[0]]
        problem = f"{which}SQNR {worst.sqnr:.1f} dB, largest difference {worst.largest:.3g}"
    return StageParity(
        stage,
        against,
        max((noise.largest for noise in each), default=0.0),
        min((noise.sqnr for noise in each), default=math.inf),
        _agreement(reference, found),
        rule,
        not failed,
        len(reference),
        problem,
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
        # equal first: an infinite output has no tolerance that could be multiplied by it
        lambda noise: noise.largest == 0 or noise.largest <= tolerance * noise.peak,
    )


def same_but_for_rounding(stage: str, reference: Outputs, found: Outputs) -> StageParity:
    """The fused float module, of which int8 is made, against the original: at least 60 dB."""
    return close_enough(stage, reference, found, FUSED_SQNR_DB)


def close_enough(
    stage: str, reference: Outputs, found: Outputs, min_sqnr: float, against: str = "original"
) -> StageParity:
    """A module against the original float model, or another one: at least `min_sqnr` decibels."""
    return _row(stage, against, reference, found, f"at least {min_sqnr:g} dB", lambda noise: noise.sqnr >= min_sqnr)


def told_of(stage: str, reference: Outputs, found: Outputs, why: str) -> StageParity:
    """A module against the original float model, from which it may differ, as `why` says; by numbers, though."""
    return _row(stage, "original", reference, found, why, lambda noise: math.isfinite(noise.largest))


def same_bits(stage: str, reference: Outputs, found: Outputs, has_islands: bool) -> StageParity:
    """A lowered form against the int8 module: bit for bit, or at least 40 dB where a float island lies between."""
    rule = f"equal, or {ISLAND_SQNR_DB:g} dB across float islands" if has_islands else "equal"
    return _row(
        stage,
        "int8",
        reference,
        found,
        rule,
        lambda noise: noise.largest == 0 or (has_islands and noise.sqnr >= ISLAND_SQNR_DB),
    )


def unreadable(stage: str, error: BaseException) -> StageParity:
    """The row for a file that does not load or run."""
    first = (str(error).strip().splitlines() or [""])[0]
    problem = f"the file does not load or run: {type(error).__name__}: {first}"
    return StageParity(stage, "int8", math.inf, -math.inf, None, "equal", False, 0, problem)
