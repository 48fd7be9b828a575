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
from fxconv.errors import ConversionError, described
from fxconv.measures.fidelity import Fidelity, not_measured
from fxconv.measures.latency import Latency
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from fxconv.targets.float_twin import FloatTwin
from fxconv.targets.proof import golden, metadata
from fxconv.targets.proof.golden import NO_GOLDEN, Golden
from fxconv.targets.target import Context, Lowered, Program, Proven, Target
from fxconv.targets.wrapping.wrapper import WrappedModel
from fxconv.targets.written_file import WrittenFile
from fxconv.verification.other_batches import other_batches
from fxconv.verification.other_inputs import OtherInputs
from fxconv.verification.other_sizes import has_size, other_sizes
from fxconv.verification.other_ways import one_way_warnings
from fxconv.verification.parity import RELOADED_IMAGES, StageParity
from rewrites import Rewritten

# What a file of another runtime must have against the int8 module at other shapes, in decibels: the least and the most
# that is asked for, and by how much it may be less than at its own shape. What rounds otherwise does so everywhere; a
# file that gives the int8 module's bits at one shape may be a step off at another, so there is a most. Random weights
# amplify rounding, from 40 dB on one image to 16 on another. What is wrong leaves 2 dB, be it one row of three.
_LEAST_DB, _ENOUGH_DB, _MORE_NOISE_DB = 10.0, 20.0, 10.0
_AMPLIFIED_LEAST_DB, _AMPLIFIED_ENOUGH_DB = 3.0, 10.0


@dataclass(frozen=True)
class Made:
    """The bytes of a file, how they came about, and the ledger's rows on the way to them.

    `golden` are the inputs it can prove itself by, `needs` what it needs at run time, None when nobody asked.
    """

    target: Target
    content: bytes
    lowered: Lowered
    ledger: tuple[StageParity, ...]
    golden: Golden
    needs: Any = None


def make(
    target: Target,
    wrapped: WrappedModel,
    context: Context,
    config: Config,
    clock: Clock,
    described: Callable[[Lowered], str],
    specs: Sequence[dict[str, Any]],
) -> Made:
    """Lower the int8 module and compare what lies between it and the file.

    `described` gives what the artifact, lowered so, says of itself, `specs` are its golden inputs'.
    """
    with clock.step("lowering"):
        lowered = target.lower(wrapped.module, wrapped.example, config)
    with clock.step("verification"):
        ledger = target.between(lowered, context)
        found = NO_GOLDEN
        if config.golden:
            found = golden.golden(
                wrapped.module, lowered.content, specs, config.engine.value, context.has_islands, target
            )
        extra = {metadata.FILE: described(lowered)} | ({replay.FILE: found.text} if found.text else {})
    with clock.step("lowering"):
        lowered = replace(lowered, content=b"")  # of a large model two are too many
        written = target.write(lowered, extra, config)
    # of what ran on the way nothing stays in memory
    return Made(target, written.content, replace(lowered, stages={}), ledger, found, written.needs)


def examine(
    path: Path,
    made: Made,
    floating: FloatTwin,
    wrapped: WrappedModel,
    context: Context,
    model: nn.Module,
    rewritten: Rewritten,
    signature: InputSignature,
    config: Config,
    clock: Clock,
    of_int8: Fidelity,
    judged: Callable[[Program], Fidelity],
) -> WrittenFile:
    """Read a written file back, run it beside the module it was made of, and beside `floating`, its float twin.

    `model` is the original, `rewritten` what became of it, `signature` how both are called. `of_int8` is how the int8
    module answers beside the original, and `judged` says so of a program that computes other bits.
    """
    target, lowered, content, size = made.target, made.lowered, made.content, len(floating.content)
    with clock.step("verification"):
        proven = _with_golden(target.prove(path, content, lowered, context), path, made)
        found = WrittenFile(
            target=target,
            artifact=target.unreadable(content, size),
            ledger=(*made.ledger, *proven.rows),
            latency=Latency(math.nan, math.nan),
            method=lowered.method,
            fidelity=not_measured("the file does not run"),
            operations=proven.operations,
            to_int8_db=proven.to_int8_db,
            golden=made.golden,
            needs=made.needs,
            frozen_branches=lowered.frozen_branches,
            warnings=lowered.warnings,
        )
        if not proven.runs:
            return found
        artifact = target.describe(path, content, lowered, wrapped.example, size)
        load, is_traced = partial(target.load, path), made.lowered.method is Method.trace
        least = None if target.is_exact else _least_elsewhere(proven.to_int8_db, context.amplifies_noise)
        other = OtherInputs(model, rewritten, wrapped.module, signature, load, is_traced, wrapped.inside, least)
        asked, images = target.other_sizes(lowered), [one for one in wrapped.tensors if target.takes(lowered, one)]
        sizes = other_sizes(other, images[0], asked)
        if asked and (wrong := next((check for check in sizes if check.problem), None)) is not None:
            where = "x".join(map(str, wrong.size))
            raise ConversionError(f"the {target.suffix} is to take images of {where}, and there {wrong.problem}")
        batches = () if lowered.fixed_batch else other_batches(other, images)
        told = () if is_traced else one_way_warnings(other, images[:RELOADED_IMAGES])
        checks: tuple[str, ...] = (*(check.warning for check in sizes), *(check.warning for check in batches))
        tried = [check.size for check in sizes]
        skipped = [
            f"the model itself does not run at {size[0]}x{size[1]}, so that the {target.suffix} was not tried there"
            for size in asked or ()
            if size not in tried and not any(has_size(one, size) for one in images[0])
        ]
        checks = (*checks, *skipped)
        if lowered.fixed_batch:
            count = next((value.shape[0] for value in wrapped.tensors[0] if value.ndim), 1)
            checks = (*checks, f"the {target.suffix} takes a batch of {count} alone: {lowered.fixed_batch}")
    with clock.step("fidelity"):
        fidelity = of_int8 if target.is_exact else judged(load())
    with clock.step("latency"):
        latency = floating.latency_beside(target, load, wrapped.example)
    return replace(
        found,
        artifact=artifact,
        latency=latency,
        fidelity=fidelity,
        sizes=sizes,
        batches=batches,
        warnings=(*lowered.warnings, *told, *filter(None, checks)),
    )


def _least_elsewhere(to_int8_db: float, amplifies: bool) -> float:
    """What a file must have against the int8 module at another shape, that has so much at its own."""
    least, enough = (_AMPLIFIED_LEAST_DB, _AMPLIFIED_ENOUGH_DB) if amplifies else (_LEAST_DB, _ENOUGH_DB)
    return min(enough, max(least, to_int8_db - _MORE_NOISE_DB))


def _with_golden(proven: Proven, path: Path, made: Made) -> Proven:
    """With what the golden inputs of the file on disk find wrong as the last row's problem."""
    if not made.golden.cases or not proven.runs or not all(row.passed for row in proven.rows):
        return proven
    try:
        problem = golden.problem_in(path, made.target)
    except (RuntimeError, OSError, ValueError) as error:
        problem = described(error)
    if not problem:
        return proven
    last = replace(proven.rows[-1], passed=False, problem=f"golden inputs: {problem}")
    return replace(proven, rows=(*proven.rows[:-1], last))
