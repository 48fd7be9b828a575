"""Small programs that make torch.export and ExecuTorch say what they say, each named after the row of the table."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
import torch.ao.nn.quantized as nnq
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, export

# Those that torch alone says, and those that want executorch.
BY_TORCH: dict[str, list[Callable[[], object]]] = {}
BY_EXECUTORCH: dict[str, list[Callable[[], object]]] = {}
X = (torch.linspace(-2, 2, 384).reshape(2, 3, 8, 8),)


class Calls(nn.Module):
    """A module that calls a function."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def torch_says(name: str, program: Callable[[], object]) -> None:
    BY_TORCH.setdefault(name, []).append(program)


def executorch_says(name: str, program: Callable[[], object]) -> None:
    BY_EXECUTORCH.setdefault(name, []).append(program)


def exported(function: Callable[[Tensor], Any], **sizes: Any) -> object:
    return export(Calls(function), X, **sizes)


def written(module: nn.Module, inputs: tuple[Tensor, ...] = X, delegated: bool = True, **sizes: Any) -> bytes:
    """The bytes of a .pte."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    partitioner = [XnnpackPartitioner()] if delegated else []
    program = to_edge_transform_and_lower(export(module.eval(), inputs, **sizes), partitioner=partitioner)
    return bytes(program.to_executorch().buffer)


def loaded(content: bytes) -> tuple[Any, Any]:
    """A program, which has to live as long as its method, and the method."""
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(content)
    return program, program.load_method("forward")


def run(content: bytes, *inputs: Tensor) -> object:
    program, method = loaded(content)
    outputs = method.execute(list(inputs))
    del program
    return outputs


def rewritten(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content and len(old) == len(new)
    return content.replace(old, new)


def int8(x: Tensor, scale: float, zero_point: int) -> Tensor:
    """x on a grid, as the int8 form of a graph has it."""
    import torch.ao.quantization.fx._decomposed

    ops = torch.ops.quantized_decomposed
    grid = (scale, zero_point, -128, 127, torch.int8)
    return ops.dequantize_per_tensor(ops.quantize_per_tensor(x, *grid), *grid)


class Int8Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.backends.quantized.engine = "qnnpack"
        self.layer = nnq.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)).dequantize()


def int8_layer() -> Callable[[Tensor], Tensor]:
    layer = Int8Layer()
    return lambda x: layer(x)  # torch.export does not see into it


class LastWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(8, 3, 3, 3, dtype=torch.int8).to(memory_format=torch.channels_last))
        self.register_buffer("scales", torch.full((8,), 0.01))
        self.register_buffer("zeros", torch.zeros(8, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        weight = ops.dequantize_per_channel(self.weight, self.scales, self.zeros, 0, -127, 127, torch.int8)
        return int8(F.conv2d(int8(x, 0.1, 0), weight), 0.1, 0)


VARIES = {"x": {0: Dim("batch", min=1, max=8)}}

torch_says("executorch-missing", lambda: importlib.import_module("executorch.part_that_is_not_there"))
torch_says("export-depends-on-values", lambda: exported(lambda x: x if x.sum() > 0 else -x))
torch_says("export-depends-on-values", lambda: exported(lambda x: x[:, : int(x.sum().item())]))
torch_says("export-depends-on-values", lambda: export(Calls(lambda x: x if x.sum() > 0 else -x), X, strict=True))
torch_says("export-size-is-fixed", lambda: exported(lambda x: x.reshape(2, -1), dynamic_shapes=VARIES))
torch_says("export-size-is-fixed", lambda: exported(lambda x: x + torch.zeros(2, 3, 8, 8), dynamic_shapes=VARIES))
torch_says(
    "export-example-out-of-range",
    lambda: exported(lambda x: x + 1, dynamic_shapes={"x": {0: Dim("batch", min=4, max=8)}}),
)
torch_says("export-of-torchscript", lambda: export(torch.jit.script(nn.ReLU()), X))
torch_says("export-of-int8", lambda: export(Int8Layer(), X))
torch_says("export-of-int8", lambda: export(Calls(int8_layer()), X))

executorch_says(
    "export-of-int8", lambda: written(Calls(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8).dequantize()))
)
executorch_says("export-not-core-operator", lambda: written(Calls(lambda x: torch.bucketize(x, torch.arange(5.0)))))
executorch_says("missing-out-variants", lambda: written(Calls(lambda x: int8(x, 0.1, 0)), delegated=False))
executorch_says("weights-channels-last", lambda: written(LastWeights()))
executorch_says("export-unbounded-size", lambda: written(Calls(unbounded)))
executorch_says("pte-not-a-program", lambda: loaded(b"x" * 100))
executorch_says("pte-not-a-program", lambda: loaded(torch.jit.script(nn.ReLU())._save_to_buffer_for_lite_interpreter()))
executorch_says("pte-cut-off", lambda: loaded(written(nn.Conv2d(3, 4, 3))[:1480]))
executorch_says(
    "pte-operator-missing",
    lambda: loaded(rewritten(written(Calls(torch.sin), delegated=False), b"aten::sin", b"aten::sim")),
)
executorch_says(
    "pte-backend-missing",
    lambda: loaded(rewritten(written(nn.Conv2d(3, 4, 3)), b"XnnpackBackend", b"XnnpackBackenx")),
)
executorch_says(
    "pte-xnnpack-refuses",
    lambda: loaded(written(Calls(lambda x: int8(torch.cat([int8(x, 0.1, 0), int8(x, 0.02, 3)], 1), 0.1, 0)))),
)
executorch_says(
    "pte-delegate-of-another-release",
    lambda: loaded(rewritten(written(nn.Conv2d(3, 4, 3)), b"XN01", b"XN99")),
)
executorch_says("pte-input-size", lambda: run(written(nn.Conv2d(3, 4, 3)), torch.zeros(1, 3, 8, 9)))
executorch_says("pte-input-size", lambda: run(written(nn.Conv2d(3, 4, 3)), torch.zeros(3, 8, 8)))
executorch_says(
    "pte-input-size",
    lambda: run(
        written(nn.Conv2d(3, 4, 3), dynamic_shapes={"input": {2: Dim("h", min=4, max=16)}}), torch.zeros(2, 3, 20, 8)
    ),
)
executorch_says("pte-input-type", lambda: run(written(nn.ReLU()), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)))
executorch_says("pte-input-count", lambda: run(written(nn.ReLU())))
executorch_says("pte-input-layout", lambda: run(written(nn.ReLU(), (torch.zeros(4, 6),)), torch.zeros(6, 4).t()))
executorch_says(
    "pte-input-layout",
    lambda: run(
        written(Calls(lambda x: torch.cat([x.contiguous(memory_format=torch.channels_last), x], 1)), delegated=False),
        *X,
    ),
)


def unbounded(x: Tensor) -> Tensor:
    import torchvision

    return torchvision.ops.nms(x[0, 0, :, :4], x[0, 0, :, 0], 0.5)


def a_path_without_a_file() -> object:
    from executorch.runtime import Runtime

    return Runtime.get().load_program("not/there.pte")


def without_a_compiler() -> object:
    from unittest import mock

    from executorch.exir._serialize import _flatbuffer

    with mock.patch.object(_flatbuffer, "_get_flatc_path", lambda: "flatc"), mock.patch.dict("os.environ", PATH=""):
        return written(nn.ReLU())


executorch_says("pte-file-missing", a_path_without_a_file)
executorch_says("flatc-missing", without_a_compiler)
# The number alone is what Java throws, and Python where nobody reads the log.
executorch_says("pte-invalid-argument", lambda: run(written(nn.ReLU())))
