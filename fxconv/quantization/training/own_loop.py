"""Quantization-aware training with a loop of one's own: the module that is trained.

module = fxconv.prepare_qat(model, calibration=batches)
for images, labels in loader:
    loss = criterion(module(images), labels)
    ...
conversion = fxconv.finish(module)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fxconv.errors import UserError
from fxconv.quantization.quantize import QuantizedModel
from fxconv.quantization.task import QuantizationTask
from fxconv.quantization.training.fake_quantize import FakeQuantized
from fxconv.quantization.training.train import check_trainable, fake_quantized
from fxconv.wording import with_article


class Trainable(FakeQuantized):
    """What `prepare_qat` gives: it returns what the model returns, with int8's rounding, and trains like any other.

    It has weights of its own, batch norms folded into them; the model is not touched. `module.parameters()` are what
    an optimizer takes, `state_dict()` what a checkpoint keeps. `job` is what `finish` goes on with, `seconds` what its
    steps have taken so far. What the model computes over a batch (`y / y.max()`), it computes over the batches
    that it is given: train such a model on one image at a time, as its artifact will see them.
    """

    def __init__(
        self, rounded: FakeQuantized, quantized: QuantizedModel, job: Any, seconds: Mapping[str, float]
    ) -> None:
        nn.Module.__init__(self)
        self.module = rounded.module
        self.quantized, self.job, self.seconds = quantized, job, dict(seconds)


def trainable(task: QuantizationTask, quantized: QuantizedModel, job: Any) -> Trainable:
    """A quantized model as a module to train. Raises `UserError` for a model that does not trace whole."""
    check_trainable(task, quantized.rewritten)
    with torch.inference_mode(False):
        return Trainable(fake_quantized(quantized, task.config), quantized, job, task.clock.seconds)


def check_trained(module: object) -> None:
    """Raises `UserError` for anything but such a module, and for weights that are no numbers."""
    if not isinstance(module, Trainable):
        raise UserError(f"finish takes what prepare_qat gave, trained; this is {with_article(type(module).__name__)}")
    bad = next((path for path, weight in module.named_weights() if not bool(weight.isfinite().all())), None)
    if bad is not None:
        raise UserError(f"the trained weights of {bad} are infinite or NaN; train with a lower learning rate")
