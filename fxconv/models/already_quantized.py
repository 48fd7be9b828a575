"""Models that somebody quantized, or prepared for it, and those whose numbers are no float32 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

# Packages whose layers, or whose tensors, hold integers, by the first words of their modules' names.
_PACKAGES = ("bitsandbytes", "torchao", "optimum.quanto", "quanto", "hqq", "awq", "auto_gptq", "gptqmodel", "brevitas")
_INT8 = ("torch.ao.nn.quantized.modules", "torch.ao.nn.intrinsic.quantized", "torch.ao.nn.quantized.dynamic")
_TRAINED = ("torch.ao.nn.qat", "torch.ao.nn.intrinsic.qat")
_FLOAT = "give the float model that it was made of"


def problem(model: nn.Module) -> str:
    """Where a model is quantized, or its numbers are others than float32 on the CPU, and what to do; "" for any other.

    That are layers of torch.ao's, FakeQuantize or observers of its, layers and tensors of packages that quantize.
    """
    for path, part in model.named_modules():
        place, kind = path or "the outermost module", type(part)
        home = kind.__module__
        if home.startswith(_INT8) and not kind.__name__.endswith(("FloatFunctional", "QFunctional", "PackedParams")):
            return f"{place}: {kind.__name__} is quantized already; {_FLOAT}, from before torch.ao.quantization.convert"
        if home.startswith(_TRAINED) or isinstance(part, torch.ao.quantization.FakeQuantizeBase):
            return (
                f"{place}: {kind.__name__} rounds as prepare_qat has it; {_FLOAT}, and fxconv trains it itself with "
                "--mode qat"
            )
        if isinstance(part, torch.ao.quantization.ObserverBase):
            return f"{place}: {kind.__name__} observes ranges, as prepare has it; {_FLOAT}, from before prepare"
        if package := _package(home):
            return f"{place}: {kind.__name__} is a layer of {package}, quantized already; {_FLOAT}"
    return next(_of_numbers(model), "")


def _of_numbers(model: nn.Module) -> Iterator[str]:
    for name, value in model.named_parameters():
        if package := _package(type(value).__module__) or _package(type(value.data).__module__):
            yield f"{name} is a tensor of {package}, quantized already; {_FLOAT}"
        if value.dtype in (torch.float16, torch.bfloat16, torch.float64):
            kind = str(value.dtype).removeprefix("torch.")
            yield f"{name} is {kind}, and float32 is needed; call .float() on the model"
    for name, held in [*model.named_parameters(), *model.named_buffers()]:
        if held.device.type not in ("cpu", "meta"):
            yield f"{name} is on {held.device}, and the CPU is needed; call .cpu() on the model"


def _package(home: str) -> str:
    return next((name for name in _PACKAGES if home == name or home.startswith(f"{name}.")), "")
