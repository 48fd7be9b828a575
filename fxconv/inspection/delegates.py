"""What an ExecuTorch program hands to backends, and what it computes itself: operators, their types, their work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fxconv.inspection.executorch_values import DELEGATE, KERNEL, Delegated, Method, ProgramFile, TensorValue
from fxconv.inspection.flatbuffers import TooManyRows
from fxconv.inspection.found import Delegate, DelegateOperator, Unreadable
from fxconv.inspection.xnnpack_graph import XnnGraph, XnnNode, XnnValue, read_xnnpack
from fxconv.inspection.xnnpack_schema import MARKS

XNNPACK = "XnnpackBackend"
# What is behind the names of other backends, by the classes in the packages of ExecuTorch 1.3.1 and 1.5.1.
_BACKENDS = {
    XNNPACK: "XNNPACK, processors of all kinds",
    "VulkanBackend": "Vulkan, GPUs of Android phones",
    "CoreMLBackend": "Core ML, Apple's devices",
    "CoreAIBackend": "Core AI, Apple's devices",
    "MPSBackend": "Metal, GPUs of Apple's devices",
    "MLXBackend": "MLX, Apple's devices",
    "QnnBackend": "Qualcomm AI Engine Direct",
    "NeuropilotBackend": "MediaTek NeuroPilot",
    "EnnBackend": "Samsung Exynos",
    "EthosUBackend": "Arm Ethos-U",
    "TOSABackend": "Arm TOSA",
    "VgfBackend": "Arm VGF",
    "NeutronBackend": "NXP eIQ Neutron",
    "OpenvinoBackend": "OpenVINO, Intel",
    "CudaBackend": "CUDA, GPUs of NVIDIA",
}
INTEGERS = ("qint8", "quint8", "qcint8", "qcint4", "qbint4")
# Kernels that multiply and accumulate, by name: which of their arguments is the weight.
_WEIGHTED = {"aten::convolution": 1, "aten::linear": 1, "aten::addmm": 2, "aten::mm": 1, "aten::bmm": 1}


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of the whole program: all of them, and those that are done in integers."""

    all: int
    integers: int

    @property
    def share(self) -> float | None:
        """The part done in integers; None where there are none at all."""
        return self.integers / self.all if self.all else None


def delegates_of(program: ProgramFile) -> tuple[Delegate, ...]:
    """The delegates of all methods, in order, each with how often it is called and what it computes."""
    known: dict[int, tuple[tuple[DelegateOperator, ...], str]] = {}  # one blob may stand behind many of them
    found = []
    for method in program.methods:
        calls = Counter(one.target for one in method.instructions if one.kind == DELEGATE)
        for number, one in enumerate(method.delegates):
            key = id(one.blob) if one.segment is None else one.segment
            if key not in known:
                known[key] = _read(one, program) if one.backend == XNNPACK else ((), "")
            operators, problem = known[key]
            what = _BACKENDS.get(one.backend, "")
            found.append(Delegate(method.name, one.backend, what, len(one.blob), calls[number], operators, problem))
    return tuple(found)


def _read(found: Delegated, program: ProgramFile) -> tuple[tuple[DelegateOperator, ...], str]:
    try:
        graph = read_xnnpack(found.blob, program.named, program.budget)
    except TooManyRows:
        raise
    except Unreadable as error:
        mark = bytes(found.blob[4:8])
        hint = (
            "" if mark in MARKS or mark == b"XH00" else f" (it begins with the bytes {mark.hex(' ') or 'of nothing'})"
        )
        return (), f"{error}{hint}"
    rows: Counter[tuple[str, str]] = Counter()
    work: Counter[tuple[str, str]] = Counter()
    values = graph.by_id
    for node in graph.nodes:
        row = node.kind, _type(node, values)
        rows[row] += 1
        work[row] += _work(node, values)
    return tuple(DelegateOperator(*row, calls, work[row]) for row, calls in rows.most_common()), ""


def _type(node: XnnNode, values: Mapping[int, XnnValue]) -> str:
    """The type a node computes in: what it makes; of conversions from what to what."""
    made = values.get(node.output)
    taken = values.get(node.inputs[0]) if node.inputs else None
    if made is None or taken is None:
        return "unknown"
    if node.kind == "Convert":
        return f"{taken.datatype} to {made.datatype}"
    if len(node.inputs) > 1 and taken.datatype == "qdint8":  # integers inside, and float when it is done
        return "qdint8"
    return made.datatype


def _work(node: XnnNode, values: Mapping[int, XnnValue]) -> int:
    """Multiply-accumulates of a node, at the largest size that it takes."""
    made, taken = values.get(node.output), [values.get(one) for one in node.inputs]
    if made is None or len(taken) < 2 or taken[0] is None or taken[1] is None:
        return 0
    if node.kind in ("Conv2d", "DepthwiseConv2d", "ConvTranspose2d"):
        numbers = (node.fields[name] for name in ("kernel_height", "kernel_width", "group_input_channels"))
        places = taken[0].count if node.kind == "ConvTranspose2d" else made.count
        if node.kind == "ConvTranspose2d":
            numbers = (node.fields[name] for name in ("kernel_height", "kernel_width", "group_output_channels"))
        for number in numbers:
            places *= number if isinstance(number, int) else 1
        return places
    if node.kind == "FullyConnected":
        return made.count * (taken[0].shape[-1] if taken[0].shape else 1)
    if node.kind == "BatchMatrixMultiply":
        return made.count * (taken[0].shape[-1] if taken[0].shape else 1)
    if node.kind == "ScaledDotProductAttention" and len(taken[1].shape) > 1:
        return 2 * taken[0].count * taken[1].shape[-2]
    return 0


def work_of(program: ProgramFile, delegates: tuple[Delegate, ...]) -> Work:
    """The multiply-accumulates of delegates that could be read and of kernels outside them."""
    inside = [(one.calls * row.multiply_accumulates, row.dtype) for one in delegates for row in one.operators]
    outside = sum(count for method in program.methods for count in _kernel_work(method))
    integers = sum(count for count, dtype in inside if dtype in (*INTEGERS, "qdint8"))
    return Work(sum(count for count, _ in inside) + outside, integers)


def _kernel_work(method: Method) -> Iterator[int]:
    for step in method.instructions:
        if step.kind != KERNEL or (place := _WEIGHTED.get(method.operators[step.target][0])) is None:
            continue
        if len(step.arguments) <= place:
            continue
        weight, made = method.values[step.arguments[place]], method.values[step.arguments[-1]]
        if isinstance(weight, TensorValue) and isinstance(made, TensorValue) and weight.sizes:
            name = method.operators[step.target][0]
            split = weight.sizes[0] if name in ("aten::convolution", "aten::linear") else weight.sizes[-1]
            lead = weight.sizes[0] if name == "aten::bmm" else 1
            yield made.count * weight.count // max(split * lead, 1)


def graphs_of(program: ProgramFile) -> Iterator[tuple[Method, int, XnnGraph]]:
    """The XNNPACK graphs of all methods, each with its method and the number of the delegate. Raises `Unreadable`."""
    for method in program.methods:
        for number, one in enumerate(method.delegates):
            if one.backend == XNNPACK:
                yield method, number, read_xnnpack(one.blob, program.named, program.budget)
