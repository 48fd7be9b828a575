"""Rewriting alone: no calibration, nothing written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fxconv.analysis.emitted_file import emitted
from fxconv.config import Config
from fxconv.data.source import check_input, open_inputs
from fxconv.models import loading, preconditions
from fxconv.models.model_info import ModelInfo
from fxconv.quantization import keep_float, refusals
from fxconv.quantization.passes import rewrite_with, selected
from fxconv.verification.parity import StageParity
from fxconv.verification.same_function import same_function
from rewrites import Rewritten


@dataclass(frozen=True)
class DryRun:
    """A rewritten model, compared with the original on one generated image; `emitted` is its file, if asked for."""

    model: ModelInfo
    config: Config
    rewritten: Rewritten
    parity: StageParity
    emitted: str = ""


def rewrite_only(
    model: str,
    weights: str,
    input_size: str | None,
    config: Config,
    unsafe_load: bool = False,
    example: Path | None = None,
    heads: str | None = None,
    emit: bool = False,
    weights_key: str | None = None,
    weights_prefix: str | None = None,
) -> DryRun:
    """Rewrite the named model and compare it with the original. Raises `UserError` for what the user can mend.

    With `emit` the model is written down as a Python file, too, if it still is the same function.
    """
    rules = selected(config)
    loaded = loading.load(
        model,
        weights,
        input_size,
        config.seed,
        True,
        unsafe_load,
        heads,
        config.model_arg,
        weights_key,
        weights_prefix,
    )
    info = ModelInfo(loaded.name, loaded.weights, loaded.parameters, loaded.preprocessing.shape)
    data, _ = open_inputs(loaded, None, example, replace(config, calib_count=1, batch_size=1))
    check_input(model, loaded, data)
    images = [loaded.signature.arguments(image) for image in data.examples(1)]
    original = preconditions.reference(loaded.module, images, model)
    with preconditions.faults_told(loaded.module, images, model):
        rewritten = rewrite_with(loaded.module, rules, images[0])
        if config.keep_float:
            rules = refusals.keeping_float(rules, keep_float.chosen(rewritten, config.keep_float))
            rewritten = rewrite_with(loaded.module, rules, images[0])
        parity = same_function(loaded.module, rewritten, original, images)
        text = emitted(loaded.module, rewritten, loaded.name, images) if emit and parity.passed else ""
    return DryRun(info, config, rewritten, parity, text)
