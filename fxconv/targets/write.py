"""From an int8 module to a file on the disk that says what it is, proves itself, and was compared with the module."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from fxconv import replay
from fxconv.config import Config, Method
from fxconv.measures.latency import Latency, measure
from fxconv.models import forward
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from fxconv.targets.artifact import Artifact
from fxconv.targets.proof import golden, metadata
from fxconv.targets.proof.golden import NO_GOLDEN, Golden
from fxconv.targets.target import Lowered, Target
from fxconv.targets.wrapping.wrapper import WrappedModel
from fxconv.verification import parity
from fxconv.verification.lowered_outputs import comparable_outputs
from fxconv.verification.other_batches import BatchCheck, other_batches
from fxconv.verification.other_inputs import OtherInputs
from fxconv.verification.other_sizes import SizeCheck, other_sizes
from fxconv.verification.other_ways import one_way_warnings
from fxconv.verification.parity import BETWEEN_IMAGES, RELOADED_IMAGES, StageParity
from rewrites import Rewritten


@dataclass(frozen=True)
class Made:
    """The bytes of the artifact, how they came about, and the ledger's rows on the way to them.

    `golden` are the inputs it can prove itself by, `needs` what it needs at run time, None when nobody asked;
    `frozen_branches` are as in `Lowered`.
    """

    content: bytes
    method: Method
    warnings: tuple[str, ...]
    ledger: tuple[StageParity, ...]
    golden: Golden
    needs: Any = None
    frozen_branches: tuple[str, ...] = ()


def make(
    target: Target,
    wrapped: WrappedModel,
    config: Config,
    has_islands: bool,
    clock: Clock,
    described: Callable[[Lowered], str],
    specs: Sequence[dict[str, Any]],
) -> Made:
    """Lower the int8 module and compare what lies between it and the file, of which nothing stays in memory.

    `described` gives what the artifact, lowered so, says of itself, `specs` are its golden inputs'.
    """
    with clock.step("lowering"):
        lowered = target.lower(wrapped.module, wrapped.example, config)
    with clock.step("verification"):
        few = wrapped.tensors[:BETWEEN_IMAGES]
        ledger = tuple(
            parity.same_bits(stage, *comparable_outputs(wrapped.module, module, wrapped.reference, few), has_islands)
            for stage, module in lowered.stages.items()
        )
        ledger = tuple(row if row.passed or not lowered.doubt else _doubted(row, lowered.doubt) for row in ledger)
        found = NO_GOLDEN
        if config.golden:
            found = golden.golden(wrapped.module, lowered.content, specs, config.engine.value, has_islands, target)
        extra = {metadata.FILE: described(lowered)} | ({replay.FILE: found.text} if found.text else {})
    with clock.step("lowering"):
        lowered = replace(lowered, content=b"")  # of a large model two are too many
        written = target.write(lowered, extra, config)
    told = (*wrapped.warnings, *lowered.warnings)
    return Made(written.content, lowered.method, told, ledger, found, written.needs, lowered.frozen_branches)


def _doubted(row: StageParity, doubt: str) -> StageParity:
    """A row that failed, with what may be why."""
    return replace(row, problem=f"{row.problem} ({doubt})")


def read_back(
    target: Target,
    path: Path,
    content: bytes,
    int8: nn.Module,
    reference: forward.Outputs,
    images: list[tuple[Any, ...]],
    has_islands: bool,
    has_golden: bool = False,
) -> StageParity:
    """The ledger's last row: the file as it lies on the disk, in the target's runtime."""
    try:
        row = parity.same_bits("reloaded", *comparable_outputs(int8, target.load(path), reference, images), has_islands)
        on_disk = path.read_bytes()
        problem = golden.problem_in(path, target) if has_golden else ""
    except (RuntimeError, OSError, ValueError) as error:
        return parity.unreadable("reloaded", error)
    if row.passed and on_disk != content:
        return replace(row, passed=False, problem="the bytes on disk are not the bytes that were written")
    if row.passed and problem:
        return replace(row, passed=False, problem=f"golden inputs: {problem}")
    return row


@dataclass(frozen=True)
class Examined:
    """A file on the disk: the ledger's last row, what it is, how it does at other sizes and batches, and how fast."""

    row: StageParity
    artifact: Artifact
    sizes: tuple[SizeCheck, ...]
    batches: tuple[BatchCheck, ...]
    latency: Latency
    warnings: tuple[str, ...] = ()


def examine(
    target: Target,
    path: Path,
    made: Made,
    float_content: bytes,
    wrapped: WrappedModel,
    model: nn.Module,
    rewritten: Rewritten,
    signature: InputSignature,
    has_islands: bool,
    clock: Clock,
) -> Examined:
    """Read a written file back, run it beside the module it was made of, and beside `float_content`, its float twin.

    `model` is the original, `rewritten` what became of it, `signature` how both are called.
    """
    content, size = made.content, len(float_content)
    with clock.step("verification"):
        some, has_golden = wrapped.tensors[:RELOADED_IMAGES], bool(made.golden.cases)
        row = read_back(target, path, content, wrapped.module, wrapped.reference, some, has_islands, has_golden)
        if not row.images:  # it does not run
            return Examined(row, target.unreadable(content, size), (), (), Latency(math.nan, math.nan))
        artifact = target.describe(path, content, wrapped.example, size)
        load, is_traced = partial(target.load, path), made.method is Method.trace
        other = OtherInputs(model, rewritten, wrapped.module, signature, load, is_traced, wrapped.inside)
        sizes, batches = other_sizes(other, wrapped.tensors[0]), other_batches(other, wrapped.tensors)
        warnings = () if is_traced else one_way_warnings(other, some)
    with clock.step("latency"):
        twin = target.load(float_content)
        latency = measure(load(), twin, wrapped.example)
        latency = replace(latency, float_kernels=target.float_kernels(twin))
    return Examined(row, artifact, sizes, batches, latency, warnings)
