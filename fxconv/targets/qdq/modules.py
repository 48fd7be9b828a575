"""Modules of an int8 graph written as float operations: by the row of their kind, or by what their forward does."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch.ao.nn.quantized.dynamic as nnqd
from torch import fx, nn

from fxconv.errors import ConversionError
from fxconv.quantization.static import is_int8
from fxconv.targets.qdq.kinds import ROWS
from fxconv.targets.qdq.writer import Writer
from rewrites.modules import Wrapped
from rewrites.values import attribute

_RECURRENT = (nnqd.LSTM, nnqd.GRU, nnqd.LSTMCell, nnqd.GRUCell, nnqd.RNNCell)


def write_module(writer: Writer, module: nn.Module, args: Any, kwargs: Any, inside: str = "") -> Any:
    """What a module computes of these values, as nodes; `inside` is its path in the one that the int8 graph calls."""
    if isinstance(module, Wrapped):  # what it computes in float stands between quantize and dequantize here as well
        module, inside = module.op, "op"
    kind = type(module)
    row = ROWS.get(kind)
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    if row is not None:
        return row(writer, module, *bound.args)
    if is_int8(module):
        why = (
            "a recurrent layer, which ranges its state at every step," if kind in _RECURRENT else "this kind of module"
        )
        raise ConversionError(f"{writer.path} ({kind.__name__}): {why} has no Q/DQ form")
    bound.apply_defaults()
    return _inlined(writer, module, list(bound.arguments.values()), inside)


class _Opening(fx.Tracer):
    """Traces into everything that has no row."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in ROWS


def _inlined(writer: Writer, module: nn.Module, given: list[Any], inside: str) -> Any:
    """The operations in the forward of a module that works on quantized and float tensors alike."""
    opened = copy.copy(module)
    if getattr(opened, "inplace", False) is True:  # each reader has a value of its own
        vars(opened)["inplace"] = False
    try:
        graph = _Opening().trace(opened)
    except Exception as error:
        raise ConversionError(
            f"{writer.path} ({type(module).__name__}): its forward cannot be written as operations: {error}"
        ) from error
    env: dict[fx.Node, Any] = {}
    values = iter(given)
    for node in graph.nodes:
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), env.__getitem__)
        if node.op == "placeholder":
            env[node] = next(values)
        elif node.op == "get_attr":
            held = attribute(module, str(node.target))
            env[node] = writer.constant(f"{inside}.{node.target}" if inside else node.target, held.detach())
        elif node.op == "call_module":
            path = f"{inside}.{node.target}" if inside else str(node.target)
            env[node] = write_module(writer, module.get_submodule(node.target), args, kwargs, path)
        elif node.op == "call_method":
            env[node] = writer.call_method(node.target, *args, **kwargs)
        elif node.op == "call_function":
            env[node] = writer.call(node.target, *args, **out_of_place(kwargs))
        else:
            return args[0]
    return None


def out_of_place(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments without the wish to change the input in place: each reader has a value of its own."""
    return {name: False if name == "inplace" and value is True else value for name, value in kwargs.items()}
