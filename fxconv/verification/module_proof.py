"""The proof of an int8 module, before anything is written: the ledger's first rows, and the audit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from fxconv.config import Mode, Recipe
from fxconv.diagnostics.diagnosis import known
from fxconv.errors import ConversionError, engine_words
from fxconv.measures.layer_survey import Layer, survey
from fxconv.models import forward, preconditions
from fxconv.quantization.failing_operation import failing_operation
from fxconv.quantization.quantize import QuantizedModel
from fxconv.quantization.task import QuantizationTask
from fxconv.verification import dynamic_audit, parity
from fxconv.verification.audit import AUDIT_INPUTS, Audit, audit_all, watch_all
from fxconv.verification.ledger import float_rows, int8_row, reference_of, trained_rows
from fxconv.verification.parity import AMPLIFYING, StageParity
from fxconv.verification.same_function import same_function
from fxconv.verification.weights_and_ranges import AllowedChanges


@dataclass(frozen=True)
class ModuleProof:
    """What was compared, and what the int8 module returns for each image: `reference`, of which files are held.

    That is nothing of a module that is no single graph. `layers` are compared with their float form when asked for.
    """

    ledger: tuple[StageParity, ...]
    audit: Audit
    layers: tuple[Layer, ...]
    reference: forward.Outputs


def prove_module(
    task: QuantizationTask,
    quantized: QuantizedModel,
    original: forward.Outputs,
    images: list[tuple[Any, ...]],
    least: float,
    with_layers: bool = False,
    amplifies_noise: bool = False,
) -> ModuleProof:
    """Compare a quantized model with what it was made of, stage by stage and operation by operation.

    `original` are the outputs of the model itself for `images`; int8 must come as near as `least` decibels, unless the
    float model itself `amplifies_noise`. Raises `ConversionError` when a kernel refuses to run, and `UserError` for
    values that are not finite.
    """
    config, clock = task.config, task.clock
    rewritten, ranges, int8 = quantized.rewritten, quantized.ranges, quantized.int8
    with clock.step("verification"):
        ledger = [same_function(task.model, rewritten, original, images)]
    with clock.step("conversion"):
        floating = quantized.floating()
        calibrated = quantized.calibrated() if quantized.recipe.is_trained else floating
    with clock.step("verification"):
        watched = watch_all(calibrated, images[:AUDIT_INPUTS])
        for path, graph_ranges in ranges.items():
            preconditions.check_finite(watched[path].extremes, graph_ranges)
        ledger += float_rows(quantized, calibrated, watched, original, images)
    steps = quantized.recipe.steps
    changes = AllowedChanges(
        quantized.means, Recipe.weight_ranges in steps, quantized.rounded, quantized.recipe.is_trained
    )
    with clock.step("audit"), _refusals_named(int8, images[0]):
        few = images[:AUDIT_INPUTS]
        if config.mode is Mode.dynamic:
            audited = dynamic_audit.audit(int8, floating, few)
        else:
            audited = audit_all(int8, floating, ranges, watched, few, changes)
    surveyed: tuple[Layer, ...] = ()
    if with_layers:
        with clock.step("survey"), _refusals_named(int8, images[0]):
            surveyed = survey(int8, floating, rewritten, images)
    with clock.step("verification"), _refusals_named(int8, images[0]):
        reference = reference_of(int8, audited, images)
        if quantized.recipe.is_trained:
            ledger += trained_rows(quantized, config, original, reference, images, least)
        else:
            row = int8_row(floating, int8, original, reference, images, least, watched.get(""), audited)
            ledger.append(parity.not_asked_for(row, AMPLIFYING) if amplifies_noise else row)
    return ModuleProof(tuple(ledger), audited, surveyed, reference)


@contextmanager
def _refusals_named(int8: nn.Module, image: tuple[Any, ...]) -> Iterator[None]:
    """Raises `ConversionError` naming the operation whose kernel refuses to run."""
    try:
        yield
    except RuntimeError as error:
        if not (stop := failing_operation(int8, image)):
            raise
        diagnosis = known(error)
        why = f" ({diagnosis.cause})" if diagnosis is not None else ""
        cure = "keep it in float: --keep-float PATTERN"
        raise ConversionError(f"the engine refuses to run {stop}: {engine_words(error)}{why}; {cure}") from error
