"""One conversion once its inputs are checked: the model, its images, the choices, and what the original answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from fxconv.config import MIN_SQNR, Config
from fxconv.data.calibration import CalibrationData, as_data
from fxconv.environment import Environment, check, untested
from fxconv.errors import UserError
from fxconv.measures.latency import set_mobile_threads
from fxconv.models import forward, preconditions
from fxconv.models.model_info import ModelInfo
from fxconv.models.preprocessing import Preprocessing
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock, Progress
from fxconv.quantization import engine
from fxconv.quantization.passes import selected
from fxconv.quantization.task import QuantizationTask
from fxconv.targets.wrapping import heatmaps
from fxconv.targets.wrapping.heatmaps import Heatmaps
from fxconv.verification.parity import LEDGER_IMAGES
from rewrites import RewritePass


@dataclass(frozen=True)
class Job:
    """What a conversion works on.

    `tensors` are the first images, each what one call takes, `images` the same as arguments of the model's forward, and
    `original` what it returns for them. `example` is what a trace records. `preprocessing` is how pixels became
    these tensors, None when nobody knows. `maps` says where the heatmaps are that
    peaks are looked for in, None when nobody asked. `warnings` are what was known before.
    """

    model: nn.Module
    info: ModelInfo
    config: Config
    environment: Environment
    data: CalibrationData
    rules: tuple[RewritePass, ...]
    signature: InputSignature
    clock: Clock
    tensors: list[tuple[Tensor, ...]]
    images: list[tuple[Any, ...]]
    example: tuple[Any, ...]
    original: forward.Outputs
    maps: Heatmaps | None
    preprocessing: Preprocessing | None
    warnings: tuple[str, ...]

    @property
    def task(self) -> QuantizationTask:
        """What of it concerns quantization."""
        return QuantizationTask(
            self.model, self.rules, self.signature, self.data, self.images[0], self.config, self.clock
        )

    @property
    def least(self) -> float:
        """The SQNR, in decibels, that int8 must have."""
        return MIN_SQNR if self.config.min_sqnr is None else self.config.min_sqnr


def open_job(
    model: nn.Module,
    calibration: CalibrationData | Iterable[Tensor | Sequence[Tensor]],
    example_inputs: tuple[Any, ...] | None,
    config: Config,
    info: ModelInfo | None = None,
    warnings: Iterable[str] = (),
    progress: Progress = lambda step, done, total: None,
    before: Mapping[str, float] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Job:
    """Check what a conversion is given, and read the first images; the arguments are those of `fxconv.convert`.

    Raises `UserError` for whatever the user can mend.
    """
    if info is None and config.model_arg:
        raise UserError(f"model_arg {config.model_arg[0]}: of a model that is named; this one is made, leave it out")
    least = MIN_SQNR if config.min_sqnr is None else config.min_sqnr
    config = replace(config, min_sqnr=least)  # the report tells what was asked for
    environment = check(config.engine.value)
    data = as_data(calibration)
    preprocessing = preprocessing or data.normalized_by
    rules, clock = selected(config), Clock(progress, before)
    model = preconditions.own_copy(model)
    signature = InputSignature.of(model)
    set_mobile_threads()  # before the first mobile kernel runs
    with engine.engine(config.engine.value):
        with clock.step("reading images"):
            tensors = data.examples(LEDGER_IMAGES)
            images = [signature.arguments(image) for image in tensors]
        example = forward.cloned(signature.tensors(example_inputs) if example_inputs else tensors[0])
        with clock.step("verification"):
            original = preconditions.reference(model, images)
            maps = heatmaps.heatmaps(model, images[0]) if config.postprocess is not None else None
    return Job(
        model,
        info or ModelInfo.given(model, example),
        config,
        environment,
        data,
        tuple(rules),
        signature,
        clock,
        tensors,
        images,
        example,
        original,
        maps,
        preprocessing,
        (*warnings, *filter(None, (untested(environment.torch),))),
    )
