"""Which call is which arithmetic operator, and the module that computes it: shared by both arithmetic passes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import Refusal
from rewrites.edits import Editor
from rewrites.functions import Quotient
from rewrites.modules import Add, AddScalar, Cat, DivScalar, MatMul, Mul, MulScalar, Stack
from rewrites.values import callee, holds_several, is_scalar, is_tensor, is_whole

_ADD: frozenset[Callable[..., Any]] = frozenset({operator.add, torch.add, Tensor.add})
_SUB: frozenset[Callable[..., Any]] = frozenset({operator.sub, torch.sub, torch.subtract, Tensor.sub, Tensor.subtract})
# b - a: the operands the other way round.
_RSUB: frozenset[Callable[..., Any]] = frozenset({torch.rsub})
_NEG: frozenset[Callable[..., Any]] = frozenset({operator.neg, torch.neg, torch.negative, Tensor.neg, Tensor.negative})
_MUL: frozenset[Callable[..., Any]] = frozenset({operator.mul, torch.mul, torch.multiply, Tensor.mul, Tensor.multiply})
_DIV: frozenset[Callable[..., Any]] = frozenset(
    {operator.truediv, torch.div, torch.divide, torch.true_divide, Tensor.div, Tensor.divide, Tensor.true_divide}
)
_MATMUL: frozenset[Callable[..., Any]] = frozenset(
    {operator.matmul, torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm}
)
_CAT: frozenset[Callable[..., Any]] = frozenset({torch.cat, torch.concat, torch.concatenate})
_STACK: frozenset[Callable[..., Any]] = frozenset({torch.stack})
ARITHMETIC = _ADD | _SUB | _RSUB | _NEG | _MUL | _DIV | _MATMUL | _CAT | _STACK


@dataclass(frozen=True)
class Operation:
    """A module that computes the operator, the arguments it is called with, and a word for its name.

    An argument may be an operation itself, which comes first.
    """

    module: nn.Module
    args: tuple[Any, ...]
    stem: str

    def arguments(
        self, editor: Editor, node: fx.Node, reason: str, made: Callable[[Operation], nn.Module]
    ) -> tuple[Any, ...]:
        """The arguments as values of the graph: operations among them are put in front of `node`, each as `made`."""
        return tuple(
            editor.insert_before(node, made(one), one.arguments(editor, node, reason, made), one.stem, reason)
            if isinstance(one, Operation)
            else one
            for one in self.args
        )


def _negated(value: fx.Node) -> Operation:
    """-value. The int8 kernel turns the integers round and keeps the steps: nothing is lost."""
    return Operation(MulScalar(-1), (value,), "neg")


def _binary(node: fx.Node) -> tuple[Any, Any]:
    """Both operands, bound as the signature (input, other) binds them."""
    kwargs = dict(node.kwargs)
    if kwargs.pop("alpha", 1) != 1:
        raise Refusal("alpha scales the second operand, and only decompose writes that out as a product")
    if kwargs.pop("out", None) is not None or kwargs.pop("rounding_mode", None) is not None:
        raise Refusal("out= and rounding_mode= have no int8 kernel")
    operands = list(node.args)
    for name in ("input", "other", "mat2"):
        if name in kwargs:
            operands.append(kwargs.pop(name))
    if kwargs or len(operands) != 2:
        raise Refusal(f"it is not called with two operands: {node.args} {node.kwargs}")
    return operands[0], operands[1]


def _cat(node: fx.Node, tensors: set[fx.Node]) -> Operation:
    def bind(tensors: Any, dim: Any = 0, axis: Any = None, out: Any = None) -> tuple[Any, Any, Any]:
        return tensors, dim if axis is None else axis, out

    values, dim, out = bind(*node.args, **node.kwargs)
    if out is not None or not isinstance(dim, int):
        raise Refusal("only a concatenation along a constant dim, without out=, has an int8 kernel")
    kind, stem = (Stack, "stack") if node.target in _STACK else (Cat, "cat")
    if isinstance(values, fx.Node):  # a list made elsewhere: what it holds is decided there
        return Operation(kind(dim), (values,), stem)
    if not all(isinstance(value, fx.Node) and value in tensors for value in values):
        raise Refusal("it concatenates something that is not a tensor of this graph")
    return Operation(kind(dim), (list(values),), stem)


def _with_scalar(kind: frozenset[Callable[..., Any]], tensor: fx.Node, scalar: float, tensor_first: bool) -> Operation:
    if not math.isfinite(scalar):
        raise Refusal("the constant is not a finite number")
    if kind is _ADD:
        return Operation(AddScalar(scalar), (tensor,), "add_scalar")
    if kind is _MUL:
        return Operation(MulScalar(scalar), (tensor,), "mul_scalar")
    if kind is _SUB and tensor_first:
        return Operation(AddScalar(-scalar), (tensor,), "sub_scalar")
    if kind is _SUB:
        return Operation(AddScalar(scalar), (_negated(tensor),), "rsub_scalar")
    if kind is _DIV and tensor_first and scalar == 0:
        raise Refusal("it divides by zero")
    if kind is _DIV and tensor_first:
        is_exact = math.frexp(scalar)[0] in (0.5, -0.5)
        return Operation(MulScalar(1 / scalar) if is_exact else DivScalar(scalar), (tensor,), "div_scalar")
    if kind is _DIV:
        return Operation(Quotient(scalar), (tensor,), "quotient")
    raise Refusal("a constant is no matrix")


def operation(graph_module: fx.GraphModule, node: fx.Node) -> Operation | None:
    """The operation at `node`; None when it is no arithmetic on tensors. Raises `Refusal` with the reason
    when it is arithmetic that has no exact observed form."""
    target = callee(graph_module, node)
    if node.op not in ("call_function", "call_method") or target not in ARITHMETIC:
        return None
    tensors = {n for n in node.all_input_nodes if is_tensor(graph_module, n)}
    if not tensors:
        return None
    if any(is_whole(graph_module, n) for n in node.all_input_nodes):
        raise Refusal("whole numbers and masks stay what they are; only fractional values are quantized")
    if target in _CAT | _STACK:
        return _cat(node, tensors)
    if target in _NEG:
        return _negated(node.all_input_nodes[0])
    x, y = _binary(node)
    if target in _RSUB:
        x, y, target = y, x, torch.sub
    kind = next(kind for kind in (_ADD, _SUB, _MUL, _DIV, _MATMUL) if target in kind)
    lists = {n for n in node.all_input_nodes if holds_several(graph_module, n)}
    if any(not isinstance(operand, fx.Node | int | float) or operand in lists for operand in (x, y)):
        raise Refusal("it joins lists, not tensors")
    if x in tensors and is_scalar(y):
        return _with_scalar(kind, x, y, True)
    if y in tensors and is_scalar(x) and kind is _DIV and target is not operator.truediv:
        raise Refusal("a number divided by a tensor has no int8 kernel")
    if y in tensors and is_scalar(x):
        return _with_scalar(kind, y, x, False)
    if not (x in tensors and y in tensors):
        raise Refusal("one operand is not a tensor but a number computed when the model runs")
    if kind is _ADD:
        return Operation(Add(), (x, y), "add")
    if kind is _SUB:
        return Operation(Add(), (x, _negated(y)), "sub")
    if kind is _MUL:
        return Operation(Mul(), (x, y), "mul")
    if kind is _MATMUL:
        return Operation(MatMul(), (x, y), "matmul")
    raise Refusal("dividing tensors has no int8 kernel")
