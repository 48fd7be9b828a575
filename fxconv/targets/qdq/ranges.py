"""The scale and zero point of every value that an int8 graph computes, read off one run of it.

Most follow from the module that computes a value; those of a kernel with a range of its own, of scalar arithmetic and
of all that works on quantized and float tensors alike are known by running them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from fxconv.errors import ConversionError
from fxconv.models import forward

# What stands behind quint8's integers in signed ones: the same value is so much less.
SIGNED_OFFSET = 128


@dataclass(frozen=True)
class Integers:
    """The integers that activations are made of."""

    least: int
    most: int
    dtype: torch.dtype

    @property
    def offset(self) -> int:
        """How much an integer of quint8 is more than the one that stands for the same value."""
        return -self.least


SIGNED = Integers(-128, 127, torch.int8)
UNSIGNED = Integers(0, 255, torch.uint8)


@dataclass(frozen=True)
class Range:
    """Scale and zero point of a value, the latter as quint8 has it: 0 to 255."""

    scale: float
    zero_point: int


# What is known of a value: the range of a quantized tensor, of several in a tuple or list, None of all others.
Known = Range | tuple["Known", ...] | None


def range_of(value: Tensor) -> Range:
    """The range of a quantized tensor of activations."""
    offset = 0 if value.dtype == torch.quint8 else SIGNED_OFFSET
    return Range(float(value.q_scale()), int(value.q_zero_point()) + offset)


def known_of(value: Any) -> Known:
    """What is known of a value in a graph; None when nothing in it is quantized."""
    if isinstance(value, Tensor):
        return range_of(value) if value.is_quantized else None
    if isinstance(value, (tuple, list)):
        members = tuple(known_of(member) for member in value)
        return members if any(member is not None for member in members) else None
    return None


class _Reader(fx.Interpreter):
    def __init__(self, int8: fx.GraphModule) -> None:
        super().__init__(int8)
        self.found: dict[str, Known] = {}

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        result = super().run_node(n)
        if n.op != "output":
            self.found[n.name] = known_of(result)
        return result


def ranges(int8: fx.GraphModule, inputs: tuple[Any, ...]) -> Mapping[str, Known]:
    """What is known of each node's value, by the node's name."""
    reader = _Reader(int8)
    with torch.no_grad():
        reader.run(*forward.cloned(inputs))
    for node in int8.graph.find_nodes(op="placeholder"):
        if reader.found[node.name] is not None:
            raise ConversionError(f"{node.name}: the graph is given values that are quantized outside of it, "
                                  "which has no Q/DQ form")  # fmt: skip
    return reader.found
