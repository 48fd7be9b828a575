"""What the audit and the ledger of a conversion amount to: whether it is verified, in words, and what helps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from fxconv.config import Config, RangeMethod
from fxconv.diagnostics.diagnosis import cure_of
from fxconv.quantization.passes import suspected
from fxconv.quantization.recipe_search.recipe import ChosenRecipe
from fxconv.verification.audit import Audit
from fxconv.verification.parity import EQUALIZED, FIDELITY_STAGES, STAGES, TRAINED, StageParity

# Layers whose names a cure gives.
_NAMED = 3


def is_verified(
    audit: Audit, ledger: Sequence[StageParity], recipe: ChosenRecipe, of_files: Sequence[str] = ()
) -> bool:
    """Whether every int8 operation passed the audit and every stage the ledger, and all of them ran.

    `of_files` are the stages of the files that were written, behind those that every conversion has.
    """
    absent = {EQUALIZED: not recipe.keeping, TRAINED: not recipe.is_trained}
    stages = (*(stage for stage in STAGES if not absent.get(stage)), *of_files)
    complete = tuple(row.stage for row in ledger) == stages and audit.inputs > 0
    return complete and not audit.failed and all(row.passed for row in ledger)


def is_proven(audit: Audit, ledger: Sequence[StageParity], recipe: ChosenRecipe, of_files: Sequence[str] = ()) -> bool:
    """Whether the bytes compute what the int8 module does, each operation of it is right, and the rewriting exact.

    How near int8 comes to float is another question.
    """
    rows = [replace(row, passed=True) if row.stage in FIDELITY_STAGES and row.images else row for row in ledger]
    return is_verified(audit, rows, recipe, of_files)


def verdict(
    audit: Audit, ledger: Sequence[StageParity], is_converted: bool, is_by_choice: bool, missed: str = ""
) -> str:
    """`converted and verified`, `float by engine, verified`, or `FAILED: ` and the first thing that failed.

    Where layers are in float because the user said so it is `float by choice`. `missed` says what was asked of
    fidelity and is not so.
    An operation that fails the audit is the cause of whatever else fails, so it is named first.
    """
    if audit.failed:
        return f"FAILED: kernel audit: {audit.problem}"
    failed = next((row for row in ledger if not row.passed), None)
    if failed is not None:
        return f"FAILED: {failed.stage} against {failed.against}: {failed.problem}; required: {failed.rule}"
    if missed:
        return f"FAILED: fidelity: {missed}"
    if is_converted:
        return "converted and verified"
    return f"float by {'choice' if is_by_choice else 'engine'}, verified"


def cure(audit: Audit, ledger: Sequence[StageParity], config: Config, advice: str) -> str:
    """What to do about a conversion that failed; empty when it did not.

    `advice` is the target's, for a stage on the way to the file.
    """
    failed = next((row for row in ledger if not row.passed), None)
    stage = failed.stage if failed is not None else ""
    if stage == TRAINED:
        return "train with a lower --learning-rate, or accept it (--min-sqnr)"
    if audit.failed and all(op.is_only_cut for op in audit.failed):
        widest = "" if config.observer is RangeMethod.minmax else ", take the widest ranges (--observer minmax)"
        kept = " ".join(f"--keep-float {op.where}" for op in audit.failed[:_NAMED])
        more = "calibrate on more of what the model will see (--calib, --calib-count)"
        return f"{more}{widest}, or leave it in float ({kept})"
    if audit.failed or stage in ("rewritten", "fused", EQUALIZED):
        if config.passes:
            return suspected(config.passes)
        return "the model is not at fault: send this line and the output of --report to fxconv's authors"
    if stage == "int8" and failed is not None and failed.worst is not None and failed.worst.words in failed.problem:
        return f"keep what makes it in float ({_keeping(failed)}){_accepting(failed)}"
    if stage == "int8":
        return "calibrate on more of what the model will see (--calib, --calib-count), or accept it (--min-sqnr)"
    if failed is None:
        return (
            "calibrate on more of what the model will see (--calib, --calib-count), or ask for less (--min-agreement)"
        )
    return cure_of(failed.problem, advice)


def _accepting(row: StageParity) -> str:
    """How to accept what is lost, where it is a number."""
    least = min(part.sqnr_db for part in row.faint)
    return f", or accept it (--min-sqnr {math.floor(min(least, -1.0))})" if math.isfinite(least) else ""


def _keeping(row: StageParity) -> str:
    """The option that keeps the layers in float that make what is lost."""
    layers = dict.fromkeys(layer for part in row.faint for layer in part.layer.split(", ") if layer)
    return " ".join(f"--keep-float {layer}" for layer in list(layers)[:_NAMED]) or "--keep-float PATTERN"
