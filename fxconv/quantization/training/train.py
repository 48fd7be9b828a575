"""Fine-tuning inside a conversion: the calibrated module is trained while it is rounded, and quantized once more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import fx, nn

from fxconv.config import Config, Recipe
from fxconv.data.calibration import CalibrationData
from fxconv.errors import ConversionError, UserError
from fxconv.quantization import refusals, static
from fxconv.quantization.calibrate import leaves_the_layout
from fxconv.quantization.convert import convert_calibrated
from fxconv.quantization.images_together import ImagePair, is_for_one_image
from fxconv.quantization.quantize import QuantizedModel
from fxconv.quantization.task import QuantizationTask
from fxconv.quantization.trained_weights import Trained
from fxconv.quantization.training import fine_tuning, training_set
from fxconv.quantization.training.fake_quantize import FakeQuantized
from rewrites import Rewritten


def check_trainable(task: QuantizationTask, rewritten: Rewritten) -> None:
    """Raises `UserError` for a model that is converted in parts, or whose graph holds for one image at a time only.

    What lies between parts gives no gradient, and training takes batches.
    """
    if not isinstance(rewritten.module, fx.GraphModule):
        raise UserError(
            "--mode qat wants a model that traces whole; this one is converted in parts, around code that selects by "
            "values and gives nothing to learn from; use --mode static"
        )
    pair = ImagePair.of(task.data) if rewritten.fixed else None
    if pair is not None and is_for_one_image(task.model, rewritten, task.signature, pair):
        raise UserError(
            "--mode qat trains on batches, and this model's graph holds for one image only "
            f"({rewritten.fixed[0].place}); use --mode static"
        )


def fake_quantized(quantized: QuantizedModel, config: Config) -> FakeQuantized:
    """A module that rounds as `quantized.int8` does, with the weights that it was made of."""
    return FakeQuantized(_observed(quantized, config))


def _observed(quantized: QuantizedModel, config: Config) -> nn.Module:
    """The module that int8 was made of, with the observers' ranges as int8 has them."""
    statistics, steps = quantized.statistics, quantized.recipe.steps
    assert statistics is not None
    module = static.observe_again(
        quantized.rewritten.module, config, steps, quantized.recipe.changes, statistics.observers
    )
    if Recipe.reader_ranges in steps:
        statistics.set_ranges(module)
    refusals.foresee(module, config.engine)
    return module


def requantized(task: QuantizationTask, quantized: QuantizedModel, trained: Trained) -> QuantizedModel:
    """The same conversion with these weights. Raises `ConversionError` when a kernel refuses them."""
    statistics, steps = quantized.statistics, quantized.recipe.steps
    assert statistics is not None
    statistics = replace(statistics, planned=(*quantized.recipe.keeping, trained))
    with task.clock.step("conversion"):
        rewritten = quantized.rewritten
        observed = static.observe_again(rewritten.module, task.config, steps, statistics.planned, statistics.observers)
    made = convert_calibrated(rewritten, observed, statistics, steps, task.image, task.config, task.clock)
    if made.int8 is None or made.refused:
        where, why = next(iter(made.refused.items()))
        raise ConversionError(f"the engine refuses {where} with the trained weights: {why}; lower the learning rate")
    return replace(
        quantized,
        adjustments=made.adjustments,
        ranges=made.ranges,
        int8=made.int8,
        recipe=replace(quantized.recipe, changes=statistics.planned),
        statistics=statistics,
    )


def fine_tuned(
    task: QuantizationTask, quantized: QuantizedModel, images: CalibrationData, checkpoint: Path | None = None
) -> QuantizedModel:
    """`quantized` with weights that were trained on `images`; with its own where these answer better.

    What is better is told by images of these that were not trained on, run through both int8 modules. Raises
    `UserError` for a model or images that cannot be trained on.
    """
    check_trainable(task, quantized.rewritten)
    config, clock = task.config, task.clock
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller's code runs in
        module = fake_quantized(quantized, config)
        with clock.step("training"):
            train_set = training_set.read(task.model, task.signature, images, config, clock.progress)
            if leaves_the_layout(quantized.rewritten):  # a step takes half the time then
                train_set = replace(train_set, layout=torch.channels_last)
            train_set = replace(train_set, singly=quantized.singly)
            done = fine_tuning.fine_tune(module, train_set, config, clock.progress, checkpoint)
    made = requantized(task, quantized, module.trained()) if done.kept else quantized
    with clock.step("judging"):
        done = replace(
            done, before=fine_tuning.score(quantized.int8, train_set), after=fine_tuning.score(made.int8, train_set)
        )
    if done.after is not None and done.before is not None and done.after.loss > done.before.loss:
        made, done = quantized, replace(done, kept=0, after=done.before)
    notes = () if images is task.data else tuple(images.warnings)
    return replace(made, training=replace(done, notes=notes))
