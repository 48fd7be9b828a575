"""A graph as text, and two graphs as a unified diff a person can review.

The text is one line a node in running order, written as the Python a person would write:
`add = features_3 + features_2`, `conv1 = self.conv1(x)  # Conv2d`.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_arg

from rewrites.values import submodule

INFIX: dict[Callable[..., Any], str] = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/", operator.floordiv: "//",
    operator.matmul: "@", operator.mod: "%", operator.pow: "**", operator.eq: "==", operator.ne: "!=",
    operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=", operator.and_: "&", operator.or_: "|",
}  # fmt: skip
AUGMENTED: dict[Callable[..., Any], str] = {
    operator.iadd: "+=", operator.isub: "-=", operator.imul: "*=", operator.itruediv: "/=", operator.imatmul: "@=",
    operator.ifloordiv: "//=", operator.imod: "%=", operator.ipow: "**=", operator.iand: "&=", operator.ior: "|=",
}  # fmt: skip

# A module's own settings are shown behind its class when they fit in this many characters.
_SETTINGS_WIDTH = 32


class _Verbatim(str):
    """A name that prints without quotation marks."""

    def __repr__(self) -> str:
        return str(self)


def _text(argument: Any) -> str:
    if isinstance(argument, slice):
        parts = ["" if p is None else _text(p) for p in (argument.start, argument.stop)]
        return ":".join([*parts, _text(argument.step)] if argument.step is not None else parts)
    if isinstance(argument, torch.dtype):
        return str(argument)
    return repr(map_arg(argument, lambda node: _Verbatim(node.name)))


def _arguments(args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    return ", ".join([*map(_text, args), *(f"{key}={_text(value)}" for key, value in kwargs.items())])


def _module_label(module: nn.Module) -> str:
    settings = module.extra_repr()
    if len(settings) > _SETTINGS_WIDTH and getattr(module, "inplace", False) is True:
        settings = "inplace=True"
    padding = getattr(module, "padding", None)
    if isinstance(padding, str):  # what numeric-padding rewrites
        settings = f"padding={padding!r}"
    return f"{type(module).__name__}({settings})" if len(settings) <= _SETTINGS_WIDTH else type(module).__name__


def function_name(target: Any) -> str:
    """The name a person would call a function by: `torch.flatten`, `F.relu`, `stochastic_depth`."""
    name = getattr(target, "__name__", str(target))
    module = getattr(target, "__module__", None) or ""
    if module.startswith("torch.nn.functional") or getattr(torch.nn.functional, name, None) is target:
        return f"F.{name}"
    if getattr(torch, name, None) is target:
        return f"torch.{name}"
    return name


def call_name(graph_module: fx.GraphModule, node: fx.Node) -> str:
    """What a node calls, as a person would say it: `Conv2d`, `torch.flatten`, `+`, `.mean()`."""
    if node.op == "call_module":
        return type(submodule(graph_module, node)).__name__
    if node.op == "call_method":
        return f".{node.target}()"
    symbol = INFIX.get(node.target) or AUGMENTED.get(node.target)  # type: ignore[arg-type]
    return symbol or function_name(node.target)


def _call_function(node: fx.Node) -> str:
    target, args = node.target, node.args
    if target in INFIX and len(args) == 2 and not node.kwargs:
        return f"{_text(args[0])} {INFIX[target]} {_text(args[1])}"
    if target is operator.getitem:
        index = args[1]
        inside = ", ".join(map(_text, index)) if isinstance(index, tuple) else _text(index)
        return f"{_text(args[0])}[{inside}]"
    if target is getattr and len(args) == 2:
        return f"{_text(args[0])}.{args[1]}"
    return f"{function_name(target)}({_arguments(args, node.kwargs)})"


def node_line(graph_module: fx.GraphModule, node: fx.Node) -> str:
    """One node as a line of Python, with the class of the module it calls behind it."""
    if node.op == "output":
        return f"return {_text(node.args[0])}"
    if node.op == "placeholder":
        default = f" = {_text(node.args[0])}" if node.args else ""
        return f"{node.target}: input{default}"
    if node.op == "get_attr":
        return f"{node.name} = self.{node.target}"
    if node.op == "call_method":
        receiver, *rest = node.args
        return f"{node.name} = {_text(receiver)}.{node.target}({_arguments(rest, node.kwargs)})"
    if node.op == "call_module":
        label = _module_label(submodule(graph_module, node))  # type: ignore[arg-type]
        return f"{node.name} = self.{node.target}({_arguments(node.args, node.kwargs)})  # {label}"
    if node.target in AUGMENTED:
        changed, other = map(_text, node.args)
        return f"{changed} {AUGMENTED[node.target]} {other}; {node.name} = {changed}"
    return f"{node.name} = {_call_function(node)}"


def graph_lines(graph_module: fx.GraphModule) -> list[str]:
    """The whole graph, a line a node."""
    return [node_line(graph_module, node) for node in graph_module.graph.nodes]


def unified(before: Sequence[str], after: Sequence[str], label: str, context: int = 1) -> str:
    """The unified diff of two graph texts; empty when they are equal.

    >>> print(unified(["y = a + b"], ["y = self.add(a, b)"], "add"))
    --- before add
    +++ after add
    @@ -1 +1 @@
    -y = a + b
    +y = self.add(a, b)
    """
    lines = difflib.unified_diff(before, after, f"before {label}", f"after {label}", lineterm="", n=context)
    return "\n".join(lines)
