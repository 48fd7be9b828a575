"""Where each operation of an int8 model runs in its ExecuTorch program, and what it costs there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from torch import Tensor, fx

from fxconv.targets.qdq.exporting import NODE


class Where(Enum):
    """Where an operation runs."""

    INT8 = "int8"  # in the delegate, on integers
    FLOAT = "float"  # in the delegate, on float numbers
    PORTABLE = "portable"  # outside of the delegate, by an operator of the runtime's own


@dataclass(frozen=True)
class Placed:
    """One operation of the program: the node that it stands for, what it is, where it runs and what it costs.

    `node` is the int8 graph's where `is_int8_node` says so, else a float one's. `macs` are multiply-accumulates,
    `values` the numbers that it gives, for one image of the largest size that the program takes.
    """

    node: str
    operation: str
    where: Where
    is_int8_node: bool
    macs: int
    values: int


@dataclass(frozen=True)
class Placement:
    """All operations of a program in order, and how many delegates it calls."""

    operations: tuple[Placed, ...]
    delegates: int

    def outside_int8(self) -> tuple[Placed, ...]:
        """The operations that do not run on integers, those that are float in the int8 graph among them."""
        return tuple(one for one in self.operations if one.where is not Where.INT8)

    def portable(self) -> tuple[Placed, ...]:
        """The operations that run outside of the delegates."""
        return tuple(one for one in self.operations if one.where is Where.PORTABLE)


_TAG = "IS_IMPLICIT_Q_DQ_TAG"
# What reads values whose range is chosen at every call, and what chooses it: parts of the layer behind them.
_OF_CHOSEN_RANGE, _CHOOSES = "dequantize_per_tensor.tensor", "choose_qparams"
_MULTIPLYING = ("convolution", "linear", "addmm", "mm", "bmm", "conv2d", "conv1d", "matmul")
_MOVED_ASIDE = ("getitem", "executorch_call_delegate", "alloc", "dim_order_ops", "_assert", "sym_", "item")


def placement(edge_program: Any, batch: int = 1) -> Placement:
    """Where the operations of a lowered program run, read from the program itself.

    It was exported with `batch` rows.
    """
    from executorch.exir.backend.utils import get_delegates

    graph = edge_program.graph_module.graph
    delegates = {str(node.target) for node in get_delegates(graph)}
    found: list[Placed] = []
    for node in graph.nodes:
        if node.op == "call_function" and "executorch_call_delegate" in str(node.target):
            lowered = getattr(edge_program.graph_module, str(node.args[0].target))
            found += _of(lowered.original_module.graph_module.graph, is_delegate=True)
        elif node.op == "call_function":
            found += _of_node(node, is_delegate=False)
    one_row = (replace(one, macs=one.macs // batch, values=one.values // batch) for one in found)
    return Placement(tuple(one_row), len(delegates))


def _of(graph: fx.Graph, *, is_delegate: bool) -> Iterator[Placed]:
    for node in graph.nodes:
        if node.op == "call_function":
            yield from _of_node(node, is_delegate=is_delegate)


def _of_node(node: fx.Node, *, is_delegate: bool) -> Iterator[Placed]:
    word = _word(node)
    if (
        _is(node, "quantize_per")
        or _is(node, _CHOOSES)
        or any(word.startswith(each) or each in word for each in _MOVED_ASIDE)
    ):
        return
    said: tuple[str, bool] = node.meta.get("custom", {}).get(NODE, ("", False))
    values = _tensors(node.meta.get("val"))
    where = Where.PORTABLE if not is_delegate else Where.INT8 if _on_integers(node) else Where.FLOAT
    yield Placed(said[0], word, where, said[1], _macs(node, word, values), sum(_count(value) for value in values))


def _word(node: fx.Node) -> str:
    """What a node calls, as aten names it: `convolution`, `view_copy`."""
    name = getattr(node.target, "__name__", str(node.target))  # aten.convolution.default
    return name.removeprefix("aten.").split(".")[0]


def _on_integers(node: fx.Node) -> bool:
    """Whether the delegate reads what a node computes as part of dequantize, operation, quantize."""
    given = [value for value in node.all_input_nodes if value.op != "placeholder"]
    if _word(node) == "relu" and len(given) == 1 and not _is(given[0], "dequantize_per"):
        return _on_integers(given[0])  # one operation with the one before
    if not given or not all(_is(value, "dequantize_per") for value in given):
        return False
    if any(_is(value, _OF_CHOSEN_RANGE) for value in given):
        return True  # such a layer reads integers, and what it gives is in float
    reader = next(iter(node.users), None)
    if reader is not None and len(node.users) == 1 and _word(reader) == "relu":
        node, reader = reader, next(iter(reader.users), None)
    return reader is not None and len(node.users) == 1 and _is(reader, ".quantize_per") and _TAG in reader.meta


def _is(node: fx.Node, words: str) -> bool:
    return words in getattr(node.target, "__name__", "")


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [each for each in value if isinstance(each, Tensor)] if isinstance(value, (tuple, list)) else []


def _count(value: Tensor) -> int:
    return math.prod(_number(size) for size in value.shape)


def _number(size: Any) -> int:
    """A size, of a free one that of the example."""
    if isinstance(size, int):
        return size
    hint = getattr(size.node, "hint", None)
    return int(hint) if hint is not None else 1


def _macs(node: fx.Node, word: str, values: list[Tensor]) -> int:
    """Multiply-accumulates of a convolution, a linear layer or a product of matrices."""
    if word not in _MULTIPLYING or not values:
        return 0
    operands = [value.meta["val"] for value in node.all_input_nodes if isinstance(value.meta.get("val"), Tensor)]
    if word == "convolution":
        weight = operands[1]
        # what each weight of a kernel is multiplied with: of a transposed one, each value that it reads
        times = _count(operands[0]) if node.args[6] else _count(values[0])
        return times * math.prod(_number(size) for size in weight.shape[1:])
    inner = operands[1] if word == "addmm" else operands[0]
    return _count(values[0]) * _number(inner.shape[-1])
