"""The constants of a .pte that are no integers of a layer, each where it is read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fxconv.inspection.executorch_values import Listed, Method, TensorValue
from fxconv.inspection.xnnpack_graph import XnnNode, XnnValue
from fxconv.targets.qdq.proof.file_numbers import FileTensor, Numbers

CONVOLUTIONS = ("Conv2d", "DepthwiseConv2d", "ConvTranspose2d")
LINEAR = "FullyConnected"
# Types of tensors that are kept as others.
_KEPT_AS = {"bool": "u1", "qint8": "i1", "quint8": "u1", "qint32": "<i4", "bfloat16": "<u2"}


def read_constant(value: TensorValue) -> Numbers:
    """The numbers of a constant of the program, in its shape."""
    assert value.content is not None
    kind = _KEPT_AS.get(value.dtype, value.dtype)
    known = kind if value.item_bytes and value.content.nbytes == value.bytes else "u1"
    held: Numbers = np.frombuffer(value.content, known)
    if known != kind:
        return held
    order = value.order if sorted(value.order) == list(range(len(value.sizes))) else tuple(range(len(value.sizes)))
    laid_out = held.reshape([value.sizes[dim] for dim in order])
    return laid_out.transpose(np.argsort(order)) if len(order) > 1 else laid_out


def given_to(method: Method, place: str, arguments: tuple[int, ...]) -> Iterator[FileTensor]:
    """The constants among the values that an instruction is given, those in lists included."""
    for number in arguments:
        value = method.values[number]
        if isinstance(value, Listed) and "tensors" in value.kind:
            yield from given_to(method, place, tuple(int(one) for one in value.items if one >= 0))
        elif isinstance(value, TensorValue) and value.content is not None:
            yield FileTensor(value.dtype, read_constant(value), place)


def constant_of(value: XnnValue, node: XnnNode | None, position: int, place: str) -> FileTensor:
    """A constant of a delegate, as the input of this number of a node; None where nothing reads it."""
    assert value.constant is not None
    values, dtype = value.constant, {"fp32": "float32", "fp16": "float16"}.get(value.datatype, value.datatype)
    if node is not None and is_layer(node) and position == 1:
        values = in_torch_order(node, values)
    return FileTensor(dtype, values, place)


def is_layer(node: XnnNode) -> bool:
    """Whether a node of a delegate is a convolution or a linear layer."""
    return node.kind == LINEAR or node.kind in CONVOLUTIONS


def in_torch_order(node: XnnNode, weight: Numbers) -> Numbers:
    """A weight in the order of the dimensions that torch has.

    XNNPACK has a convolution's as [out, height, width, in of a group], those of a depthwise one as [1, height, width,
    out]; torch as [out, in of a group, height, width], transposed ones as [in, out of a group, height, width].
    """
    if node.kind == LINEAR:
        return weight
    first = weight.transpose(0, 3, 1, 2)
    if node.kind == "DepthwiseConv2d":
        return first.swapaxes(0, 1)
    if node.kind == "ConvTranspose2d":
        groups = node.fields["groups"]
        assert isinstance(groups, int)
        out, each, height, width = first.shape
        by_group = first.reshape(groups, out // groups, each, height, width).swapaxes(1, 2)
        return by_group.reshape(groups * each, out // groups, height, width)
    return first
