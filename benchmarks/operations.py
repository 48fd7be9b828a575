"""The operations of a network alone, wrapped in dequantize and quantize, and by the int8 kernel.

    [ATEN_CPU_CAPABILITY=default] python benchmarks/operations.py

Microseconds of both as JSON, one thread. `benchmarks/arithmetic.py` runs it as this processor is, and with ATen
compiled for none of its vectors, to say why a whole network takes what it takes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.latency import medians
from fxconv.measures.latency import set_mobile_threads

Operation = Callable[[], Tensor]
RUNS, SECONDS, WARM_UP = 300, 30.0, 20
SCALE = 1 / 255
ADD, ADD_RELU, MULTIPLY, HARDSWISH = "add", "add, ReLU", "multiply", "hardswish"
# As they stand in MobileNetV3 and ResNet18: what is computed, and the shapes of its inputs.
SHAPES: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
    "add, 40 x 14 x 14": (ADD, ((1, 40, 14, 14), (1, 40, 14, 14))),
    "add and ReLU, 64 x 56 x 56": (ADD_RELU, ((1, 64, 56, 56), (1, 64, 56, 56))),
    "hardswish, 96 x 14 x 14": (HARDSWISH, ((1, 96, 14, 14),)),
    "multiply, both 240 x 14 x 14": (MULTIPLY, ((1, 240, 14, 14), (1, 240, 14, 14))),
    "multiply by a factor a channel, 16 x 56 x 56": (MULTIPLY, ((1, 16, 56, 56), (1, 16, 1, 1))),
    "multiply by a factor a channel, 240 x 14 x 14": (MULTIPLY, ((1, 240, 14, 14), (1, 240, 1, 1))),
    "multiply by a factor a channel, 576 x 7 x 7": (MULTIPLY, ((1, 576, 7, 7), (1, 576, 1, 1))),
}


def _quantized(values: Tensor) -> Tensor:
    return torch.quantize_per_tensor(values, SCALE, 0, torch.quint8)


def _wrapped(operation: str, inputs: tuple[Tensor, ...]) -> Tensor:
    floats = [each.dequantize() for each in inputs]
    if operation == HARDSWISH:
        return _quantized(F.hardswish(floats[0]))
    first, second = floats
    if operation == MULTIPLY:
        return _quantized(first * second)
    added = first + second
    return _quantized(added.relu_() if operation == ADD_RELU else added)


def _functional(operation: str, inputs: tuple[Tensor, ...]) -> Tensor:
    kernels = torch.ops.quantized
    if operation == HARDSWISH:
        return kernels.hardswish(*inputs, SCALE, 0)
    kernel = {ADD: kernels.add, ADD_RELU: kernels.add_relu, MULTIPLY: kernels.mul}[operation]
    return kernel(*inputs, SCALE, 0)


def measured(name: str) -> dict[str, float]:
    """Microseconds of one operation, wrapped and functional."""
    operation, shapes = SHAPES[name]
    draw = torch.Generator().manual_seed(0)
    values = [torch.rand(shape, generator=draw) for shape in shapes]
    inputs = tuple(_quantized(each.contiguous(memory_format=torch.channels_last)) for each in values)
    forms = {"wrapped": partial(_wrapped, operation, inputs), "functional": partial(_functional, operation, inputs)}
    if not torch.allclose(*(run().dequantize() for run in forms.values()), atol=1.01 * SCALE):
        raise SystemExit(f"{name}: the two differ by more than a step")
    times, _ = medians(forms, (), RUNS, RUNS, SECONDS, WARM_UP)
    return {form: 1000 * taken for form, taken in times.items()}


def main() -> None:
    set_mobile_threads()
    torch.backends.quantized.engine = "qnnpack"
    json.dump({name: measured(name) for name in SHAPES}, sys.stdout)


if __name__ == "__main__":
    main()
