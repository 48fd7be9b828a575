"""What is quantized, and on what: the arguments that every way of quantizing shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from fxconv.config import Config
from fxconv.data.calibration import CalibrationData
from fxconv.models.signature import InputSignature
from fxconv.progress import Clock
from rewrites import RewritePass


@dataclass(frozen=True)
class QuantizationTask:
    """A sound float model, the passes that rewrite it, and the images its ranges are estimated on.

    `signature` is how the model takes its inputs, `image` the arguments of one call. `config` says how, `clock` times
    the steps.
    """

    model: nn.Module
    passes: tuple[RewritePass, ...]
    signature: InputSignature
    data: CalibrationData
    image: tuple[Any, ...]
    config: Config
    clock: Clock
