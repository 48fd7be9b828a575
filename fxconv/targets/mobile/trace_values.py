"""What a tensor depends on while `torch.jit.trace` runs, read from the graph that is being recorded."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Operators that give numbers about a shape.
_OF_A_SHAPE = frozenset({"aten::size", "aten::sym_size", "aten::numel", "aten::len", "aten::dim", "prim::shape"})
# Of their first argument these take shape and dtype alone ...
_LIKE = frozenset(
    {
        *(f"aten::{name}_like" for name in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")),
        *(f"aten::new_{name}" for name in ("zeros", "ones", "empty", "full", "empty_strided")),
    }
)
# ... and these of all arguments but the first.
_AS = frozenset({"aten::type_as", "aten::expand_as", "aten::view_as", "aten::reshape_as", "aten::to"})
# How many values these give depends on the numbers they are given.
_SELECTING = frozenset(
    {
        *("aten::nonzero", "aten::nonzero_numpy", "aten::argwhere", "aten::masked_select", "torchvision::nms"),
        *("aten::_unique", "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive"),
        *("aten::unique_dim_consecutive", "aten::bincount", "aten::arange", "aten::linspace"),
    }
)
# Types of an index that selects; a call of a script does not say of which type its result is.
_MASKS = frozenset({torch.bool, torch.uint8, None})


class TraceValues:
    """Answers, about tensors of the trace that is running, whether the inputs' numbers decide what they are.

    Whatever is computed from an input depends on its numbers, but for its size. A value that the tracer does not know
    is a constant: a weight, a buffer, or what was made without an input.
    """

    def __init__(self) -> None:
        self._fixed: set[int] = set()  # whose shape depends on no number; it does not change any more

    def depend(self, tensors: Iterable[Tensor]) -> bool:
        """Whether the numbers in one of these tensors depend on those in the inputs."""
        return self._reaches([(False, _value(tensor)) for tensor in tensors])

    def vary(self, tensors: Iterable[Tensor]) -> bool:
        """Whether the shape of one of these tensors depends on the numbers in the inputs."""
        return self._reaches([(True, _value(tensor)) for tensor in tensors])

    def _reaches(self, left: list[tuple[bool, Any]]) -> bool:
        """Whether one of these questions, (about the shape, of a value), leads to the numbers in an input."""
        seen: set[tuple[bool, int]] = set()
        while left:
            of_shape, value = left.pop()
            key = (of_shape, value.unique())
            if key in seen or (of_shape and value.unique() in self._fixed):
                continue
            seen.add(key)
            node = value.node()
            if node.kind() == "prim::Param":
                if not of_shape and value.type().kind() != "ClassType":
                    return True
            else:
                left += _shape_questions(node) if of_shape else _number_questions(node)
            if not of_shape:
                left += [(False, source) for source in _written_into(value)]
        self._fixed |= {number for of_shape, number in seen if of_shape}
        return False


def _value(tensor: Tensor) -> Any:
    return torch._C._get_value_trace(tensor)  # type: ignore[attr-defined]


def _number_questions(node: Any) -> list[tuple[bool, Any]]:
    kind, inputs = node.kind(), list(node.inputs())
    if kind in _OF_A_SHAPE:
        return [(True, value) for value in inputs]
    if kind in _LIKE:
        inputs = inputs[1:]
    elif kind in _AS:
        inputs = inputs[:1]
    return [(False, value) for value in inputs]


def _shape_questions(node: Any) -> list[tuple[bool, Any]]:
    inputs = list(node.inputs())
    counted = _counted(node, inputs)
    return [(True, value) for value in inputs if _holds_tensors(value)] + [(False, value) for value in counted]


def _counted(node: Any, inputs: list[Any]) -> list[Any]:
    """The inputs of a node whose numbers say how many values it gives: sizes and bounds, and what selects."""
    kind = node.kind()
    sizes = [value for value in inputs if not _holds_tensors(value)]
    if kind in _SELECTING or (kind == "aten::where" and len(inputs) == 1):
        return inputs
    if kind == "aten::index" and _has_mask(inputs[1]):
        return [inputs[1], *sizes]
    if kind == "aten::repeat_interleave":
        return inputs if node.schema().startswith("aten::repeat_interleave.Tensor") else inputs[1:]
    return sizes


def _holds_tensors(value: Any) -> bool:
    kind = value.type()
    while kind.kind() in ("ListType", "OptionalType"):
        kind = kind.getElementType()
    return kind.kind() in ("TensorType", "TupleType", "ClassType")


def _has_mask(indices: Any) -> bool:
    """Whether a list of indices has one of truth values: how many are true is how many values are taken."""
    members = [value.type() for value in indices.node().inputs() if value.type().kind() == "TensorType"]
    return any(kind.dtype() in _MASKS for kind in members)


def _written_into(value: Any) -> list[Any]:
    """The values that were written into a tensor, in its place, by itself or by one of its views."""
    sources, seen, left = [], set(), [value]
    while left:
        one = left.pop()
        if one.unique() in seen:
            continue
        seen.add(one.unique())
        for use in one.uses():
            writes, views = _aliases(use.user)
            if use.offset in writes:
                sources += [other for place, other in enumerate(use.user.inputs()) if place != use.offset]
            if use.offset in views:
                left += use.user.outputs()
    return sources


def _aliases(node: Any) -> tuple[frozenset[int], frozenset[int]]:
    """The places of the inputs that a node writes into, and of those that its outputs share values with."""
    if node.kind().startswith("prim::"):  # lists and tuples, put together and taken apart
        return frozenset(), frozenset(range(node.inputsSize()))
    return _aliases_of(node.schema())


@cache
def _aliases_of(schema: str) -> tuple[frozenset[int], frozenset[int]]:
    try:
        arguments = torch._C.parse_schema(schema).arguments
    except RuntimeError:  # a call of somebody's script: nothing says what it does
        return frozenset(), frozenset()
    aliased = [(place, one.alias_info) for place, one in enumerate(arguments) if one.alias_info is not None]
    return frozenset(place for place, info in aliased if info.is_write), frozenset(place for place, _ in aliased)
