"""What a conversion starts from: the model a user names and the images its ranges are estimated on."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fxconv import models, soundness
from fxconv.arrays import open_array, split_name
from fxconv.calibration import CalibrationData, open_calibration
from fxconv.config import MIN_SQNR, RANDOM_MIN_SQNR, Config
from fxconv.conversion import ModelInfo
from fxconv.endings import is_out_of_memory
from fxconv.errors import UserError
from fxconv.models import LoadedModel
from fxconv.passes import selected
from fxconv.weights import reestimate_batch_norms

# Enough for stable statistics: a batch norm averages over every pixel of every image.
_BATCH_NORM_IMAGES = 40
_RANDOM_WEIGHTS = (
    "deep networks with random weights amplify rounding: trained weights give a far higher SQNR than these"
)


@dataclass(frozen=True)
class Source:
    """A loaded model, its calibration data, what the user must know about both, and the choices settled by them."""

    config: Config
    loaded: LoadedModel
    data: CalibrationData
    example: tuple[Any, ...] | None
    warnings: tuple[str, ...]

    @property
    def info(self) -> ModelInfo:
        """The model in words, for the report."""
        loaded = self.loaded
        return ModelInfo(loaded.name, loaded.weights, loaded.parameters, loaded.preprocessing.shape)


def open_source(
    model: str,
    weights: str,
    input_size: str | None,
    calib: Path | None,
    example: Path | None,
    config: Config,
    unsafe_load: bool = False,
) -> Source:
    """Load everything a conversion needs, cheap checks first. Raises `UserError` for whatever the user can mend.

    A model with random weights gets the batch-norm statistics of the calibration images, and 3 dB are asked of it
    where nothing else was said.
    """
    selected(config)  # a misspelt pass is found here, not after minutes of work
    if calib is not None and not split_name(calib)[0].exists():
        raise UserError(f"--calib {calib}: no such file or folder")
    if example is not None and not split_name(example)[0].exists():
        raise UserError(f"--example {example}: no such file")
    loaded = models.load(model, weights, input_size, config.seed, unsafe_load=unsafe_load)
    data = open_calibration(calib, loaded.preprocessing, config.calib_count, config.batch_size, config.seed)
    inputs = read_example(example, loaded) if example else None
    check_input(model, loaded, data)
    notes = list(loaded.warnings)
    if loaded.is_random:
        reestimate_batch_norms(loaded.module, data.batches(_BATCH_NORM_IMAGES))
        notes.append(_RANDOM_WEIGHTS)
        if config.min_sqnr is None:
            config = replace(config, min_sqnr=RANDOM_MIN_SQNR)
            notes[-1] += f", so {RANDOM_MIN_SQNR:g} dB are enough here instead of {MIN_SQNR:g}"
    return Source(config, loaded, data, inputs, tuple(notes))


def check_input(model: str, loaded: LoadedModel, data: CalibrationData) -> None:
    """Run one image, then two at a time. Raises `UserError` when the model cannot take them, or loses them on the way.

    The model itself is not touched: a copy runs.
    """
    parameters = inspect.signature(loaded.module.forward).parameters.values()
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) != 1:
        raise UserError(f"{model} takes {len(needed)} inputs ({', '.join(needed)}); only one image is supported")
    size = "x".join(map(str, loaded.preprocessing.shape))
    batch = data.first(min(2, data.count, data.batch_size))
    module = soundness.copied(loaded.module, model)
    for images, cure in ((batch[:1], "set --input-size"), (batch, "set --batch-size 1")):
        try:
            with torch.inference_mode():
                lost = _lost(copy.deepcopy(module), images)
        except Exception as error:  # whatever the user's own forward raises
            if is_out_of_memory(error):
                raise
            what = f"an input of {size}" if len(images) == 1 else f"{len(images)} images of {size} at a time"
            raise soundness.cannot_take(error, model, what, cure) from error
        if lost is not None:
            raise UserError(f"{model} cannot take an input of {size} ({lost}); set --input-size")


def _lost(module: nn.Module, images: Tensor) -> str | None:
    """Where the image is lost, in words: the first layer whose output is empty, or NaN in what the model returns."""
    empty: list[str] = []

    def look(name: str, output: object) -> None:
        shapes = [tuple(leaf.shape) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        lost = (shape for shape in shapes if shape[:1] != (0,) and 0 in shape)  # no detections are a result, too
        empty.extend(f"{name} leaves nothing of it: {shape}" for shape in lost)

    for name, layer in module.named_modules():
        layer.register_forward_hook(lambda _, __, output, name=name or "the model": look(name, output))
    outputs = [leaf for leaf in tree_leaves(module(images.clone())) if isinstance(leaf, Tensor)]
    if empty:
        return empty[0]
    return "its outputs are NaN" if any(leaf.isnan().any() for leaf in outputs) else None


def read_example(path: Path, loaded: LoadedModel) -> tuple[Any, ...]:
    """One preprocessed input from an array file, float `[C, H, W]` or `[N, C, H, W]` (the first is taken)."""
    array = open_array(path, "--example", ranks=(3, 4))
    size, (channels, height, width) = loaded.preprocessing.shape, loaded.preprocessing.shape
    if array.dtype == np.uint8 or array.shape[-3:] != size or len(array.shape) not in (3, 4) or not array.shape[0]:
        raise UserError(
            f"--example {array.name}: {array.dtype} {array.shape} is not float [{channels}, {height}, {width}], "
            "preprocessed, with or without a leading N"
        )
    rows = list(array.rows(1 if len(array.shape) == 4 else channels))
    image = np.stack(rows).reshape(1, channels, height, width).astype(np.float32)
    if not np.isfinite(image).all():
        raise UserError(f"--example {array.name}: holds values that are not finite (NaN or infinite)")
    return (torch.from_numpy(image),)
