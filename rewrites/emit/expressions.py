"""One operation of a graph as the expression a person would write."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional
from torch import fx, nn

from rewrites.diff import AUGMENTED, INFIX, function_name
from rewrites.emit.layers import NotEmittable
from rewrites.emit.text import Expression, Group, Infix, Slot, call, literal
from rewrites.modules import Add, AddReLU, AddScalar, Cat, DivScalar, MatMul, Mul, MulScalar, Stack

# What rewriting puts in the place of an operator: in a file it is the FloatFunctional alone, and the method called.
FUNCTIONALS: dict[type, str] = {
    Add: "add",
    AddReLU: "add_relu",
    Mul: "mul",
    MatMul: "matmul",
    Cat: "cat",
    Stack: "cat",
    AddScalar: "add_scalar",
    MulScalar: "mul_scalar",
    DivScalar: "mul_scalar",
}
Read = Callable[[fx.Node], str]


class Expressions:
    """Writes operations down; `read` says what the value of another one is called here."""

    def __init__(self, read: Read) -> None:
        self.read = read

    def function(self, node: fx.Node) -> Expression:
        """The call of a function or method, or the use of an operator."""
        target, args = node.target, node.args
        if node.op == "call_method":
            receiver, *rest = args
            return self._call(f"{self._text(receiver)}.{target}", rest, node.kwargs, node)
        if target in INFIX and len(args) == 2 and not node.kwargs:
            return Infix(self._value(args[0], node), INFIX[target], self._value(args[1], node))
        if target is operator.getitem:
            return self._item(node)
        if target is getattr and len(args) == 2:
            return f"{self._text(args[0])}.{args[1]}"
        return self._call(_name(target), args, node.kwargs, node)

    def module(self, path: str, node: fx.Node) -> Expression:
        """The call of the module at `path`."""
        return self._call(path, node.args, node.kwargs, node)

    def functional(self, path: str, module: nn.Module, node: fx.Node) -> Expression:
        """The call of a FloatFunctional that stands at `path` for this module of rewriting's."""
        method = f"{path}.{FUNCTIONALS[type(module)]}"
        if isinstance(module, (Cat, Stack)):
            tensors = self._value(node.args[0], node)
            if isinstance(module, Stack):
                assert isinstance(tensors, Group)
                stacked: Any = node.args[0]
                moved = [call(f"{self._text(one)}.unsqueeze", str(module.dim)) for one in stacked]
                tensors = Group("[", "]", tuple(("", one) for one in moved))
            return call(method, tensors, str(module.dim))
        if isinstance(module, (AddScalar, MulScalar)):
            scalar = Slot("", "scalar", module.scalar, True)
            return call(method, self._value(node.args[0], node), scalar)
        return self._call(method, node.args, node.kwargs, node)

    def value(self, value: Any, node: fx.Node) -> Expression:
        """An argument of `node`, or what it returns."""
        return self._value(value, node)

    def _call(self, function: str, args: Any, kwargs: Any, node: fx.Node) -> Group:
        items = [("", self._value(one, node)) for one in args]
        items += [(key, self._value(one, node)) for key, one in kwargs.items()]
        return Group(f"{function}(", ")", tuple(items))

    def _item(self, node: fx.Node) -> Expression:
        index = node.args[1]
        parts = index if isinstance(index, tuple) else (index,)
        inside = ", ".join(map(self._index, parts)) + (
            "," if index != () and isinstance(index, tuple) and len(parts) == 1 else ""
        )
        return f"{self._text(node.args[0])}[{inside or '()'}]"

    def _index(self, part: Any) -> str:
        if isinstance(part, slice):
            ends = ["" if end is None else self._text(end) for end in (part.start, part.stop)]
            ends += [] if part.step is None else [self._text(part.step)]
            gap = " " if any(not _is_plain(end) for end in ends) else ""
            return f"{gap}:{gap}".join(ends).strip()
        return self._text(part)

    def _text(self, value: Any) -> str:
        if isinstance(value, fx.Node):
            return self.read(value)
        if isinstance(value, slice):
            return f"slice({self._text(value.start)}, {self._text(value.stop)}, {self._text(value.step)})"
        if isinstance(value, (tuple, list)):
            inside = ", ".join(map(self._text, value))
            if isinstance(value, list):
                return f"[{inside}]"
            return f"({inside},)" if len(value) == 1 else f"({inside})"
        try:
            return literal(value)
        except ValueError as error:
            raise NotEmittable(str(error)) from error

    def _value(self, value: Any, node: fx.Node) -> Expression:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return Slot(_word(node), "", value, True)
        if isinstance(value, (tuple, list)) and value:
            opening, closing = ("[", "]") if isinstance(value, list) else ("(", ")")
            return Group(opening, closing, tuple(("", self._value(one, node)) for one in value))
        if isinstance(value, dict) or type(value).__name__ == "immutable_dict":
            items = ", ".join(f"{literal(key)}: {self._text(one)}" for key, one in value.items())
            return f"{{{items}}}"
        return self._text(value)


def _word(node: fx.Node) -> str:
    """What an operation is called, for the number it takes."""
    return str(node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.name)).strip("_")


def _is_plain(text: str) -> bool:
    """Whether formatters write no blanks around the colon of a slice that has this end."""
    return text.isidentifier() or text.lstrip("-").isdigit() or not text


def _name(target: Any) -> str:
    """What a function is called in a file that imports torch alone. Raises `NotEmittable` for any that is not there."""
    if target in AUGMENTED or getattr(operator, getattr(target, "__name__", ""), None) is target:
        return f"operator.{target.__name__}"
    name = function_name(target)
    for prefix, module in (("torch.", torch), ("F.", torch.nn.functional)):
        if name.startswith(prefix) and getattr(module, name.removeprefix(prefix), None) is target:
            return name
    if getattr(builtins, name, None) is target:
        return name
    if getattr(math, name, None) is target:
        return f"math.{name}"
    home = getattr(target, "__module__", None) or "?"
    raise NotEmittable(f"{name} of {home} is no function of torch, and the file imports torch alone")
