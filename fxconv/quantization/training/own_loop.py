"""Quantization-aware training with a loop of one's own: a module to train, and the conversion of what was trained.

module = fxconv.prepare_qat(model, calibration=batches)
for images, labels in loader:
    loss = criterion(module(images), labels)
    ...
conversion = fxconv.finish(module)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fxconv.config import Config, Mode
from fxconv.conversion import Conversion, completed
from fxconv.data.calibration import CalibrationData
from fxconv.data.calibration_generated import Generated
from fxconv.errors import UserError
from fxconv.job import Job, open_job
from fxconv.models.model_info import ModelInfo
from fxconv.models.preprocessing import Preprocessing
from fxconv.progress import Clock, Progress
from fxconv.quantization import engine
from fxconv.quantization.quantize import QuantizedModel, settle
from fxconv.quantization.training.fake_quantize import FakeQuantized
from fxconv.quantization.training.train import check_trainable, fake_quantized, requantized


class Trainable(FakeQuantized):
    """What `prepare_qat` gives: it returns what the model returns, with int8's rounding, and trains like any other.

    It has weights of its own, batch norms folded into them; the model is not touched. `module.parameters()` are what
    an optimizer takes, `state_dict()` what a checkpoint keeps.
    """

    def __init__(self, rounded: FakeQuantized, job: Job, settled: QuantizedModel) -> None:
        nn.Module.__init__(self)
        self.module = rounded.module
        self.job, self.settled = job, settled
        self._seconds = dict(job.clock.seconds)

    def resumed(self) -> Job:
        """The job with a clock that goes on from here: what trained in between is not fxconv's."""
        return replace(self.job, clock=Clock(self.job.clock.progress, self._seconds))


def prepare_qat(
    model: nn.Module,
    calibration: CalibrationData | Iterable[Tensor | Sequence[Tensor]] | None = None,
    example_inputs: tuple[Any, ...] | None = None,
    config: Config | None = None,
    *,
    info: ModelInfo | None = None,
    progress: Progress = lambda step, done, total: None,
    **options: Any,
) -> Trainable:
    """Rewrite and calibrate a model, and give it back as a module that rounds as its int8 form will.

    `calibration`, `example_inputs`, `config` and its fields as keywords are those of `fxconv.convert`; without
    calibration data, generated images of `[3, 224, 224]` serve. Raises what `fxconv.convert` raises, and `UserError`
    for a model that does not trace whole.
    """
    config = replace(config or Config(), **options | {"mode": Mode.qat})
    if calibration is None:
        calibration = Generated(Preprocessing(), config.calib_count, config.batch_size, config.seed)
    job = open_job(model, calibration, example_inputs, config, info, (), progress)
    with engine.engine(config.engine.value):
        settled = settle(job.model, job.rules, job.form, job.data, job.images[0], job.config, job.clock)
        check_trainable(job, settled.rewritten)
        with torch.inference_mode(False):
            return Trainable(fake_quantized(settled, job.config), job, settled)


def finish(module: Trainable, output: str | Path | None = None) -> Conversion:
    """The verified int8 conversion of what was trained; `output` is as in `fxconv.convert`.

    int8 is compared with the trained module, rounding and all: what the original answers is no measure any more. Raises
    `UserError` for another module, or weights that are no numbers, and what `fxconv.convert` raises.
    """
    if not isinstance(module, Trainable):
        raise UserError(f"finish takes what prepare_qat gave, trained; this is a {type(module).__name__}")
    bad = next((path for path, weight in module.named_weights() if not bool(weight.isfinite().all())), None)
    if bad is not None:
        raise UserError(f"the trained weights of {bad} are infinite or NaN; train with a lower learning rate")
    job, target = module.resumed(), Path(output) if output is not None else None
    with engine.engine(job.config.engine.value):
        return completed(job, requantized(job, module.settled, module.trained()), output=target)
