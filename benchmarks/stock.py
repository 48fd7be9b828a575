"""The stock flow, as PyTorch's own documentation gives it: FX mode, default qnnpack settings, mobile optimizer.

    python benchmarks/stock.py NETWORK CHECKPOINT PHOTOGRAPHS OUT.ptl

As a program it is the script a user would write for `fxconv convert NETWORK --weights CHECKPOINT --calib PHOTOGRAPHS`:
the same photographs, as many at a time, and nothing verified.
"""

from __future__ import annotations

import copy
import random
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.ao.quantization import (
    HistogramObserver,
    QConfig,
    QConfigMapping,
    default_per_channel_weight_observer,
    get_default_qconfig_mapping,
)
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.jit.mobile import _load_for_lite_interpreter
from torch.utils.mobile_optimizer import optimize_for_mobile

COUNT, BATCH = 100, 10
Batch = Tensor | tuple[Tensor, ...]


class StockError(Exception):
    """A step of the stock flow failed: the message is the step's name, `__cause__` what was raised."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Whatever is raised inside is a `StockError` of the step `name`."""
    try:
        yield
    except Exception as error:
        raise StockError(name) from error


def first_of(batch: Batch) -> tuple[Tensor, ...]:
    """The first image of a batch, as arguments."""
    return tuple(each[:1] for each in ((batch,) if isinstance(batch, Tensor) else batch))


class ContiguousReLU6(nn.Module):
    """A ReLU6 of a contiguous tensor: of one in channels_last qnnpack's kernel gives scrambled values."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.relu6(input.contiguous(memory_format=torch.contiguous_format))


def mended(model: nn.Module) -> nn.Module:
    """A copy whose ReLU6 modules the engine computes rightly."""
    model = copy.deepcopy(model)
    for part in list(model.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(part, name, ContiguousReLU6())
    return model


def _per_channel() -> QConfigMapping:
    activation = HistogramObserver.with_args(reduce_range=False)
    return QConfigMapping().set_global(QConfig(activation, default_per_channel_weight_observer))


def quantize(model: nn.Module, batches: Iterable[Batch], per_channel: bool = False) -> nn.Module:
    """prepare_fx, calibrate, convert_fx. A batch is a tensor, or one for each of several inputs."""
    torch.backends.quantized.engine = "qnnpack"
    batches = list(batches)
    example = first_of(batches[0])
    with step("prepare_fx"):
        settings = _per_channel() if per_channel else get_default_qconfig_mapping("qnnpack")
        prepared = prepare_fx(copy.deepcopy(model).eval(), settings, example)
    with step("calibration"), torch.no_grad():
        for batch in batches:
            prepared(*((batch,) if isinstance(batch, Tensor) else batch))
    with step("convert_fx"):
        converted: nn.Module = convert_fx(prepared)
    return converted


def to_torchscript(converted: nn.Module, example: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Scripted, or traced when TorchScript refuses the source."""
    try:
        return torch.jit.script(converted)
    except Exception:
        with step("torch.jit.trace, after torch.jit.script failed"), torch.no_grad():
            return torch.jit.trace(converted, example, check_trace=False, strict=False)


def write(model: nn.Module, batches: Iterable[Batch], path: Path, per_channel: bool = False) -> Any:
    """The whole stock flow to a .ptl, loaded back in the lite interpreter. Raises `StockError`."""
    batches = list(batches)
    scripted = to_torchscript(quantize(model, batches, per_channel), first_of(batches[0]))
    with step("optimize_for_mobile"):
        optimized = optimize_for_mobile(scripted)
    with step("the lite interpreter"):
        optimized._save_for_lite_interpreter(str(path))  # type: ignore[operator]
        return _load_for_lite_interpreter(str(path))


def main() -> None:
    network, checkpoint, photographs, out = sys.argv[1:]
    warnings.filterwarnings("ignore")
    model = torchvision.models.get_model(network, weights=None)
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    transform = torchvision.models.get_model_weights(network).DEFAULT.transforms()
    paths = sorted(Path(photographs).rglob("*.jpg"))
    images = []
    for path in random.Random(0).sample(paths, min(COUNT, len(paths))):
        with Image.open(path) as image:
            images.append(transform(image.convert("RGB")))
    write(model, [torch.stack(images[i : i + BATCH]) for i in range(0, len(images), BATCH)], Path(out))


if __name__ == "__main__":
    main()
