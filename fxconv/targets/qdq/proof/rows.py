"""The ledger's rows of a .pte: what was held against the int8 module, stage by stage, on the way to the file."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from fxconv.measures.channel_noise import part_noises
from fxconv.measures.output_comparison import agreement, noises, shape_problem
from fxconv.models import forward
from fxconv.targets.qdq.held import held
from fxconv.targets.qdq.proof.prove import FileProof
from fxconv.targets.target import Context
from fxconv.verification import parity
from fxconv.verification.audit import Audit
from fxconv.verification.parity import AMPLIFYING, ANSWERS, StageParity

QDQ = "qdq"
STAGES = (QDQ, "numbers", "operations", "file", "outputs", ANSWERS)
_WITHIN = "each operation within 2 steps on all but 0.1 % of its values"
_NUMBERS = "equal: integers, scales, zero points, biases and all other constants read back from the file"
# Of a module none of whose operations gives int8 values: its layers range their input at every call.
_NO_VALUES = "no operation gives int8 values; numbers holds weights, scales and biases, answers what comes out"


def held_form(form: object, context: Context) -> StageParity:
    """The Q/DQ form, each operation on the int8 module's own values."""
    audited = held(form, context.module, context.images)  # type: ignore[arg-type]
    reference = forward.outputs(context.module, context.images[: audited.inputs])
    return _operations(QDQ, audited, reference, audited.outputs)


def of_file(
    found: FileProof, path: Path, content: bytes, reference: forward.Outputs, context: Context
) -> tuple[StageParity, ...]:
    """The rows of a file on the disk whose bytes must be `content`; `reference` is what the int8 module returns."""
    images = len(found.outputs)
    if not images:
        problem = found.rows[0].problem if found.rows else "the file does not load or run"
        return (replace(parity.unreadable("numbers", RuntimeError()), problem=problem),)
    wrong = [f"{row.where}: {row.problem}" for row in found.numbers if row.problem]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    problem = f"{wrong[0]}{more}" if wrong else ""
    if not problem and path.read_bytes() != content:
        problem = "the bytes on disk are not the bytes that were written"
    numbers = StageParity(
        "numbers", "int8", math.inf if problem else 0.0, math.inf, None, _NUMBERS, not problem, images, problem
    )
    operations = _operations("operations", Audit(found.operations, images), reference, found.outputs)
    twin, outputs = found.rows
    return (
        numbers,
        operations,
        replace(twin, stage="file", against="twin"),
        replace(outputs, stage="outputs", against="its values"),
        _answers(found.outputs, reference, context),
    )


def _operations(stage: str, audited: Audit, reference: forward.Outputs, found: forward.Outputs) -> StageParity:
    """A stage whose operations were held one by one; end to end a step here and there adds up, which is shown."""
    problem = audited.problem or shape_problem(reference, found)
    each = [] if shape_problem(reference, found) else noises(reference, found)
    return StageParity(
        stage,
        "int8",
        max((noise.largest for noise in each), default=0.0),
        min((noise.sqnr for noise in each), default=math.inf),
        agreement(reference, found) if each else None,
        _WITHIN if audited.operations else _NO_VALUES,
        not problem,
        audited.inputs,
        problem,
    )


def _answers(outputs: forward.Outputs, reference: forward.Outputs, context: Context) -> StageParity:
    """End to end: near enough to float, as is asked of the int8 module; to that where float returns something else."""
    original = context.original[: len(outputs)]
    if not original or shape_problem(original, outputs):
        return parity.close_enough(ANSWERS, reference, outputs, context.least, "int8")
    row = parity.like_float(ANSWERS, original, outputs, context.least, looked_at=part_noises(original, outputs))
    return parity.not_asked_for(row, AMPLIFYING) if context.amplifies_noise else row
