"""nn.Hardtanh(-1, 1), F.interpolate(x, scale_factor=2)  ->  the same with -1.0, 1.0 and 2.0."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.values import submodule

_REASON = "TorchScript takes no whole number where a float is declared"


@functools.cache
def _declared_floats(function: Callable[..., Any]) -> Mapping[str, bool]:
    """The parameters of a Python function in order, and whether each takes floats and no whole numbers."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature, which TorchScript knows as an operator
        return {}
    words = {p.name: set(re.findall(r"\w+", str(p.annotation))) for p in parameters}
    return {name: "float" in found and "int" not in found for name, found in words.items()}


def _as_float(value: Any) -> Any:
    """A whole number, or a sequence of numbers, in floats; anything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return type(value)(map(_as_float, value)) if type(value) in (list, tuple) else value


def _same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # 1 == 1.0


class FloatSettings(RewritePass):
    """Settings declared as floats are floats: `nn.Hardtanh(-1, 1)` becomes `nn.Hardtanh(-1.0, 1.0)`.

    What it does: whole numbers given where torch's own module or function declares a float become that float.

    Why: Python does not mind, but TorchScript refuses such a model ("Arguments for call are not valid"), and with it
    every `F.interpolate(x, scale_factor=2)` that stays in float.

    Leaves alone: modules and functions that are not torch's own, and settings that may be whole numbers.
    """

    name = "float-settings"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if node.op == "call_function" and getattr(node.target, "__module__", None) == F.__name__:
                self._in_call(editor, node)
            elif node.op == "call_module":
                self._in_module(editor, node)

    @staticmethod
    def _in_call(editor: Editor, node: fx.Node) -> None:
        floats = _declared_floats(node.target)
        declared = dict(zip(floats, node.args, strict=False))
        args = tuple(_as_float(value) if floats[name] else value for name, value in declared.items())
        kwargs = {name: _as_float(value) if floats.get(name) else value for name, value in node.kwargs.items()}
        if len(args) == len(node.args) and not _same((args, kwargs), (node.args, dict(node.kwargs))):
            editor.retarget(node, "call_function", node.target, args, kwargs, _REASON)

    @staticmethod
    def _in_module(editor: Editor, node: fx.Node) -> None:
        module = submodule(editor.graph_module, node)
        if module is None or not type(module).__module__.startswith("torch.nn."):
            return
        for name, takes_float in _declared_floats(cast(Any, type(module))).items():
            if not takes_float:
                continue
            value = getattr(module, name, None)
            if not _same(value, _as_float(value)):
                editor.set_attribute(node, name, _as_float(value), _REASON)

    @staticmethod
    def example() -> nn.Module:
        class Whole(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.act = nn.Hardtanh(-1, 1)

            def forward(self, x: Tensor) -> Tensor:
                return F.interpolate(self.act(x), scale_factor=2, mode="bicubic")

        return Whole()
