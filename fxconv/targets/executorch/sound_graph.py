"""What must hold of a graph before XNNPACK is given it from anybody's program.

XNNPACK, and what of ExecuTorch stands before it, believe the file: a kernel reads as many weights as the node says,
not as the value has; a value whose id is missing ends the process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fxconv.inspection.executorch_values import TensorValue, Value
from fxconv.inspection.xnnpack_graph import XnnGraph, XnnNode, XnnValue
from fxconv.inspection.xnnpack_schema import (
    INPUT_FLAG,
    NO_VALUE,
    OUTPUT_FLAG,
    PER_CHANNEL,
    PER_GROUP,
    PER_TENSOR,
    PER_TOKEN,
)

_MOST_SIDES = 6
_MOST_PADDING = 1 << 16
_CONVOLUTIONS = ("Conv2d", "DepthwiseConv2d", "ConvTranspose2d")
# What a tensor of the program must be where a value of this datatype is.
_SAME = {"fp32": "float32", "fp16": "float16", "qint8": "int8", "quint8": "uint8", "int32": "int32", "qint32": "int32"}
_ZEROS = {"qint8": (-128, 127), "quint8": (0, 255), "qint32": (0, 0)}
_QUANTIZED = {
    PER_TENSOR: ("qint8", "quint8", "qint32"),
    PER_CHANNEL: ("qcint8", "qcint32", "qcint4"),
    PER_GROUP: ("qbint4",),
    PER_TOKEN: ("qdint8", "qpint8"),
    "": ("fp32", "fp16", "bf16", "pfp32", "int32"),
}


def faults(graph: XnnGraph, most: int) -> Iterator[str]:
    """What is wrong with a graph, each as it goes on after "its delegate"; `most` bytes may be used by one value."""
    values = graph.by_id
    if len(values) != len(graph.values):
        yield "has two values of one id"
    for value in graph.values:
        yield from (f"has a value ({value.id}) {words}" for words in _value_faults(value, most))
    yield from _border_faults(graph, values)
    there = {one.id for one in graph.values if one.content is not None or one.is_input} | {NO_VALUE}
    for node in graph.nodes:
        if node.kind.startswith("unknown"):
            yield f"has a node of an unknown kind ({node.kind})"
            continue
        bias = node.kind in (*_CONVOLUTIONS, "FullyConnected")
        taken = [one for place, one in enumerate(node.inputs) if not (one == NO_VALUE and bias and place == 2)]
        if not node.outputs or not all(one in values for one in (*taken, *node.outputs)):
            yield f"has a {node.kind} of values that are not there"
        elif not all(one in there for one in taken):
            yield f"has a {node.kind} that takes what is computed after it"
        elif any(one in there for one in node.outputs):
            yield f"has a {node.kind} that writes over what is there"
        else:
            yield from (f"has a {node.kind} {words}" for words in _node_faults(node, values))
        there.update(node.outputs)
    if not all(one in there for one in graph.outputs):
        yield "returns what it does not compute"


def _value_faults(value: XnnValue, most: int) -> Iterator[str]:
    if value.sides != len(value.shape) or value.sides > _MOST_SIDES:
        yield "whose number of dimensions is another"
    if value.bytes > most:
        yield "larger than the memory it may have"
    if value.datatype not in _QUANTIZED.get(value.quantization, ()):
        yield f"of type {value.datatype}, {value.quantization or 'not quantized'}, which is none"
    if value.content is not None and len(value.content) < value.bytes:
        yield "with fewer numbers than its shape says"
    if value.flags & ~(INPUT_FLAG | OUTPUT_FLAG) or (value.content is not None and value.flags):
        yield "with flags that are not known"
    if value.quantization in (PER_CHANNEL, PER_GROUP):
        yield from _channel_faults(value)
    elif value.quantization == PER_TENSOR:
        low, high = _ZEROS.get(value.datatype, (0, 0))
        if not low <= value.zero_point <= high:
            yield "with a zero point that is none"
    elif value.quantization == PER_TOKEN and not 0 < value.group <= value.sides:
        yield "quantized along dimensions that it does not have"
    scales = value.scales
    if len(scales) and not all(0 < one < math.inf for one in scales.tolist()):
        yield "with a scale that is none"


def _channel_faults(value: XnnValue) -> Iterator[str]:
    if not 0 <= value.channels < len(value.shape):
        yield "quantized along a dimension that it does not have"
        return
    wanted = value.shape[value.channels]
    if value.quantization == PER_GROUP:
        if value.group < 1 or len(value.shape) != 2 or value.shape[1] % value.group:
            yield "quantized in groups that do not fit it"
            return
        wanted = value.shape[0] * (value.shape[1] // value.group)
    if len(value.scales) < wanted:
        yield "with fewer scales than channels"


def _border_faults(graph: XnnGraph, values: dict[int, XnnValue]) -> Iterator[str]:
    """What crosses between the program and the graph: as many, of the same types, each in one place."""
    ids = (*graph.inputs, *graph.outputs)
    outer = [values[one] for one in ids if one in values]
    if len(outer) != len(ids) or len(ids) != graph.externals:  # before any list of so many is made
        yield "takes or returns values that are not there"
        return
    if sorted(one.external_id for one in outer) != list(range(len(ids))):
        yield "takes or returns values that are not there"
        return
    if any(not one.is_input or one.is_output for one in outer[: len(graph.inputs)]) or any(
        not one.is_output or one.is_input for one in outer[len(graph.inputs) :]
    ):
        yield "takes or returns values that are not marked so"
    if any(one.external_id != NO_VALUE or one.flags for one in graph.values if one.id not in ids):
        yield "has values that are the program's and neither taken nor returned"


def call_faults(graph: XnnGraph, given: tuple[Value, ...]) -> Iterator[str]:
    """What is wrong with the values that a sound graph is called with."""
    if len(given) != graph.externals:
        yield f"is called with {len(given)} values instead of {graph.externals}"
        return
    values = graph.by_id
    for one in (values[number] for number in (*graph.inputs, *graph.outputs) if number in values):
        if not 0 <= one.external_id < len(given):
            continue
        tensor = given[one.external_id]
        if not isinstance(tensor, TensorValue):
            yield "is called with something that is no tensor"
        elif tensor.dtype != _SAME.get(one.datatype):
            yield f"is called with {tensor.dtype} where it takes {one.datatype}"
        elif (len(tensor.sizes) or 1) != len(one.shape):  # what has no dimensions has one there
            yield "is called with a tensor of another number of dimensions"
        elif one.is_output and tensor.content is not None:
            yield "writes to a constant"


def _node_faults(node: XnnNode, values: dict[int, XnnValue]) -> Iterator[str]:
    first, made = values[node.inputs[0]], values[node.outputs[0]]
    rank = len(first.shape)
    lists = {name: value for name, value in node.fields.items() if isinstance(value, tuple)}
    numbers = {name: int(value) for name, value in node.fields.items() if isinstance(value, int)}
    if any(len(one) != numbers.get("num_dims", rank) for one in lists.values()):
        yield "whose lists are of another length than it says"
    if any(one > _MOST_PADDING for name, one in numbers.items() if name != "flags"):
        yield "with a number that is too large"
    if "num_dims" in numbers and (numbers["num_dims"] > _MOST_SIDES or len(made.shape) != numbers["num_dims"]):
        yield "with more dimensions than it makes"
    if node.kind == "StaticTranspose" and sorted(lists["perm"]) != list(range(rank)):
        yield "whose order of dimensions is none"
    if node.kind == "StaticConstantPad" and any(one > _MOST_PADDING for row in lists.values() for one in row):
        yield "with a padding that is too large"
    if node.kind == "StaticSlice" and any(
        begin + size > side for begin, size, side in zip(lists["offsets"], lists["sizes"], first.shape, strict=False)
    ):
        yield "that reaches beyond what it takes"
    if node.kind.startswith("Concatenate") and (
        numbers["axis"] >= rank or any(len(values[one].shape) != rank for one in node.inputs)
    ):
        yield "along a dimension that it does not have"
    if node.kind in (*_CONVOLUTIONS, "MaxPooling2d", "AvgPooling2d", "ArgMaxPooling2d", "StaticResizeBilinear2D"):
        yield from _image_faults(node, first, made, numbers)
    if node.kind in (*_CONVOLUTIONS, "FullyConnected"):
        yield from _weight_faults(node, values, numbers)


def _image_faults(node: XnnNode, first: XnnValue, made: XnnValue, numbers: dict[str, int]) -> Iterator[str]:
    if len(first.shape) != 4 or len(made.shape) != 4:
        yield "of something that is no image"
    steps = ("kernel", "subsampling", "dilation", "pooling", "stride", "new", "group", "groups")
    if node.kind == "AvgPooling2d":  # it has none, though there is a place for it
        numbers = {name: one for name, one in numbers.items() if not name.startswith("dilation")}
    if not all(one for name, one in numbers.items() if name.partition("_")[0] in steps):
        yield "with a size or step of 0"


def _weight_faults(node: XnnNode, values: dict[int, XnnValue], numbers: dict[str, int]) -> Iterator[str]:
    """Kernels and biases shorter than what is read of them."""
    weight, bias = values[node.inputs[1]], values.get(node.inputs[2])
    if node.kind == "FullyConnected":
        if len(weight.shape) != 2 or not values[node.inputs[0]].shape:
            yield "whose weight is no matrix"
            return
        made = weight.shape[1 if numbers["flags"] & 1 else 0]
    else:
        names = ("kernel_height", "kernel_width", "group_input_channels", "group_output_channels", "groups")
        made = numbers["groups"] * numbers["group_output_channels"]
        if weight.count != math.prod(numbers[name] for name in names):
            yield "whose weight is of another size than it says"
        if values[node.inputs[0]].shape[-1:] != (numbers["groups"] * numbers["group_input_channels"],):
            yield "of another number of channels than it takes"
    if weight.content is None and node.kind != "FullyConnected":
        yield "whose weight is computed"
    if bias is not None and (bias.count != made or len(bias.shape) != 1):
        yield "whose bias is of another size than it says"
