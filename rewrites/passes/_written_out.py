"""Calls that are several operators in one, written out as those: torch.addcmul, alpha=, torch.lerp, sums of stacks."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from rewrites.base import Refusal
from rewrites.edits import Editor
from rewrites.memory import changes_between
from rewrites.values import callee, constant_tensor, is_scalar, is_tensor, is_whole

# Of more tensors one sum is better taken in float than many in int8, each with a range of its own.
_MOST_ADDED = 8


class _Writer:
    """Puts plain operators in front of a node, and lets the node be the last of them."""

    def __init__(self, editor: Editor, node: fx.Node, reason: str) -> None:
        self.editor, self.node, self.reason = editor, node, reason

    def __call__(self, function: Callable[..., Any], *args: Any) -> fx.Node:
        name = f"{self.node.name}_{function.__name__}"
        return self.editor.insert_call(self.node, "call_function", function, args, name, self.reason)

    def end(self, function: Callable[..., Any], *args: Any) -> None:
        """What the node itself computes from now on."""
        self.editor.retarget(self.node, "call_function", function, args, {}, self.reason)


def _times(write: _Writer, value: Any, number: float) -> Any:
    if is_scalar(value):
        return value * number
    return value if number == 1 else write(operator.mul, value, number)


def _constant(number: Any, name: str) -> float:
    if not is_scalar(number):
        raise Refusal(f"{name} is no constant")
    return number


def _add(write: _Writer, input: Any, other: Any, *, alpha: Any = 1) -> None:
    write.end(operator.add, input, _times(write, other, _constant(alpha, "alpha")))


def _sub(write: _Writer, input: Any, other: Any, *, alpha: Any = 1) -> None:
    write.end(operator.sub, input, _times(write, other, _constant(alpha, "alpha")))


def _rsub(write: _Writer, input: Any, other: Any, *, alpha: Any = 1) -> None:
    write.end(operator.sub, other, _times(write, input, _constant(alpha, "alpha")))


def _addcmul(write: _Writer, input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> None:
    product = write(operator.mul, tensor1, tensor2)
    write.end(operator.add, input, _times(write, product, _constant(value, "value")))


def _addcdiv(write: _Writer, input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> None:
    if constant_tensor(write.editor.graph_module, tensor2) is None:
        raise Refusal("dividing tensors has no int8 kernel")
    quotient = write(operator.truediv, tensor1, tensor2)
    by_reciprocal(write.editor, quotient)
    write.end(operator.add, input, _times(write, quotient, _constant(value, "value")))


def _lerp(write: _Writer, input: Any, end: Any, weight: Any) -> None:
    way = write(operator.sub, end, input)
    write.end(operator.add, input, write(operator.mul, way, weight))


def _sum(write: _Writer, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> None:
    stack = input
    if dtype is not None or callee(write.editor.graph_module, stack) is not torch.stack:
        return
    tensors, along = _stacked(*stack.args, **stack.kwargs)
    if not isinstance(tensors, (list, tuple)) or not 2 <= len(tensors) <= _MOST_ADDED:
        return
    dims = [dim] if isinstance(dim, int) else dim
    if keepdim or not isinstance(dims, (list, tuple)) or list(dims) != [along]:
        return
    if changes_between(write.editor.graph_module, stack, write.node):
        raise Refusal("something is changed in place between the stack and its sum")
    *first, last = tensors
    total = first[0]
    for one in first[1:]:
        total = write(operator.add, total, one)
    write.end(operator.add, total, last)
    if not stack.users:
        write.editor.erase(stack, f"{write.node.name} adds what it joined")


def _stacked(tensors: Any, dim: int = 0) -> tuple[Any, int]:
    return tensors, dim


# What each call is, and why it is written out.
_ALPHA = "alpha scales an operand, which is a product"
_RULES: dict[Callable[..., Any], tuple[Callable[..., None], str]] = {
    torch.add: (_add, _ALPHA), Tensor.add: (_add, _ALPHA),
    torch.sub: (_sub, _ALPHA), Tensor.sub: (_sub, _ALPHA),
    torch.subtract: (_sub, _ALPHA), Tensor.subtract: (_sub, _ALPHA),
    torch.rsub: (_rsub, _ALPHA),
    torch.addcmul: (_addcmul, "a product is added"), Tensor.addcmul: (_addcmul, "a product is added"),
    torch.addcdiv: (_addcdiv, "a quotient is added"), Tensor.addcdiv: (_addcdiv, "a quotient is added"),
    torch.lerp: (_lerp, "the way from one to the other is added in part"),
    Tensor.lerp: (_lerp, "the way from one to the other is added in part"),
    torch.sum: (_sum, "the sum of a stack is that of the tensors in it"),
    Tensor.sum: (_sum, "the sum of a stack is that of the tensors in it"),
}  # fmt: skip


def _is_alone(kind: Any, other: Any) -> bool:
    """Whether `a + 0`, `0 + a`, `a * 1` and their kin are the one tensor."""
    if not is_scalar(other):
        return False
    return (kind in (operator.add, operator.sub) and other == 0) or (
        kind in (operator.mul, operator.truediv) and other == 1
    )


def neutral(graph_module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The tensor that an addition of 0 or a product with 1 gives as it was given; None for any other node.

    Python's `sum` begins with a 0.
    """
    target = node.target if node.op == "call_function" else None
    if target not in (operator.add, operator.sub, operator.mul, operator.truediv) or len(node.args) != 2:
        return None
    first, second = node.args
    if isinstance(first, fx.Node) and _is_alone(target, second):
        value = first
    elif isinstance(second, fx.Node) and target in (operator.add, operator.mul) and _is_alone(target, first):
        value = second
    else:
        return None
    return value if is_tensor(graph_module, value) and not is_whole(graph_module, value) else None


def write_out(editor: Editor, node: fx.Node) -> None:
    """Let `node` be plain operators when it is a call of several in one. Raises `Refusal` when it cannot be."""
    graph_module = editor.graph_module
    rule = _RULES.get(callee(graph_module, node)) if node.op in ("call_function", "call_method") else None  # type: ignore[arg-type]
    if rule is None or not any(is_tensor(graph_module, one) for one in node.all_input_nodes):
        return
    if any(is_whole(graph_module, one) for one in node.all_input_nodes):
        return
    function, reason = rule
    if reason is _ALPHA and node.kwargs.get("alpha", 1) == 1 and callee(graph_module, node) is not torch.rsub:
        return
    try:
        bound = inspect.signature(function).bind(_Writer(editor, node, reason), *node.args, **node.kwargs)
    except TypeError:
        return  # what is called with out= stays one call
    function(*bound.args, **bound.kwargs)


_DIVISIONS = frozenset({operator.truediv, torch.div, torch.divide, torch.true_divide, Tensor.div, Tensor.divide,
                        Tensor.true_divide})  # fmt: skip


def by_reciprocal(editor: Editor, node: fx.Node) -> None:
    """Let a division by parameters and constants be the product with their reciprocals, which are worked out now."""
    graph_module = editor.graph_module
    if node.op not in ("call_function", "call_method") or callee(graph_module, node) not in _DIVISIONS:
        return
    if len(node.args) != 2 or node.kwargs or not all(isinstance(one, fx.Node) for one in node.args):
        return
    value, divisor = node.args
    assert isinstance(value, fx.Node) and isinstance(divisor, fx.Node)
    known = constant_tensor(graph_module, divisor) if is_tensor(graph_module, divisor) else None
    if known is None or not known.is_floating_point() or not is_tensor(graph_module, value):
        return
    if is_whole(graph_module, value) or constant_tensor(graph_module, value) is not None:
        return
    reciprocal = known.reciprocal()
    if not reciprocal.isfinite().all():
        raise Refusal("a number that it divides by is 0, or too small to have a reciprocal")
    reason = "a quotient by constants is the product with their reciprocals"
    write = _Writer(editor, node, reason)
    inverse = write(torch.reciprocal, divisor)
    write.end(operator.mul, value, inverse)
    editor.fold(inverse, reciprocal, "it is worked out of parameters alone")
    editor.erase(inverse, "its value is a constant now")
    editor.forget_unread()
