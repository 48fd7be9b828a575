"""What the rules read of a Q/DQ graph, and how they write into it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import Tensor, fx, nn

from fxconv.targets.qdq.writer import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE, SOURCE, VALUE
from rewrites.values import attribute, callee

Function = Callable[..., Any]
# Scale, zero point, least and most integer, and type of a quantized value: what follows its first argument in a node.
Settings = tuple[Any, ...]
# What a node's value is like: the size in each dimension, None where it differs between calls.
SIZES = "sizes"


def calls(graph_module: fx.GraphModule, functions: Collection[Any]) -> list[fx.Node]:
    """The nodes that call one of these functions or tensor methods, in order."""
    return [node for node in graph_module.graph.nodes if callee(graph_module, node) in functions]


def calls_any(graph_module: fx.GraphModule, node: fx.Node, functions: Collection[Any]) -> bool:
    """Whether a node calls one of these functions or tensor methods."""
    return callee(graph_module, node) in functions


def given(node: Any) -> tuple[Any, ...]:
    """The arguments of a call."""
    return tuple(node.args)


def is_quantize(node: Any) -> bool:
    """Whether this is a quantize node."""
    return isinstance(node, fx.Node) and node.target is QUANTIZE


def is_dequantize(node: Any) -> bool:
    """Whether this is the dequantize node of an activation or of something with one scale."""
    return isinstance(node, fx.Node) and node.target is DEQUANTIZE


def settings(node: Any) -> Settings:
    """The settings of a quantize or dequantize node."""
    return tuple(node.args[1:])


def quantizer(node: fx.Node) -> fx.Node | None:
    """The quantize node that alone reads `node`; None where others read it, or none does."""
    reader = next(iter(node.users), None)
    return reader if len(node.users) == 1 and is_quantize(reader) else None


def is_int8(node: fx.Node) -> bool:
    """Whether an operation stands between dequantize nodes and a quantize node."""
    given = [value for value in node.all_input_nodes if value.op != "get_attr"]
    return quantizer(node) is not None and bool(given) and all(is_dequantize(value) for value in given)


def sizes(node: Any) -> tuple[Any, ...] | None:
    """The sizes of a node's tensor; None where nothing is known, and for all that is no tensor."""
    known = node.meta.get(SIZES) if isinstance(node, fx.Node) else None
    return known if known is not None and not any(isinstance(each, tuple) for each in known) else None


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """One argument of a call, by its place or its name."""
    return node.args[position] if position < len(node.args) else node.kwargs.get(name, default)


def pair(value: Any) -> tuple[int, int]:
    """One number for both directions, or two."""
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return (values[0], values[-1])


def call(of: fx.Node, function: Function, *args: Any) -> fx.Node:
    """A new call, where nodes are being inserted, that stands for what `of` stands for."""
    made = of.graph.call_function(function, args)
    if SOURCE in of.meta:
        made.meta[SOURCE] = of.meta[SOURCE]
    return made


def requantized(of: fx.Node, value: Any, to: Settings | None) -> fx.Node:
    """`value` through a quantize node and its dequantize node; as it is where `to` is None."""
    return value if to is None else dequantized(call(of, QUANTIZE, value, *to))


def dequantized(quantize: Any) -> fx.Node:
    """A dequantize node of its own for a new reader of a quantize node."""
    return quantize.graph.call_function(DEQUANTIZE, (quantize.args[0] if is_dequantize(quantize) else quantize,
                                                     *settings(quantize)))  # fmt: skip


def own(value: Any) -> Any:
    """What a new reader of `value` reads: a dequantize node of its own where `value` is one."""
    return dequantized(value) if is_dequantize(value) else value


def inner_settings(node: fx.Node) -> Settings | None:
    """How values between the parts of an operation that only moves values are quantized; None where they are float."""
    quantize = quantizer(node)
    return settings(quantize) if quantize is not None and is_int8(node) else None


def replace(node: fx.Node, value: Any) -> None:
    """Let all readers of `node` read `value`, and take `node` out."""
    node.replace_all_uses_with(value)
    node.graph.erase_node(node)


def constant(graph_module: fx.GraphModule, node: fx.Node, name: str, value: Tensor) -> fx.Node:
    """A new tensor of the module, named after `node`, as a node where nodes are being inserted."""
    path, count = f"{node.name}_{name}", 0
    while hasattr(graph_module, path):
        count += 1
        path = f"{node.name}_{name}_{count}"
    graph_module.register_buffer(path, value)
    return graph_module.graph.create_node("get_attr", path, name=path)


def held(graph_module: fx.GraphModule, node: Any) -> Tensor | None:
    """The tensor that a node names; None where it names none."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    value = attribute(graph_module, str(node.target))
    return value if isinstance(value, Tensor) else None


def set_held(graph_module: fx.GraphModule, node: fx.Node, value: Tensor) -> None:
    """Put another tensor where the one is that a node names."""
    path, _, name = str(node.target).rpartition(".")
    holder = graph_module.get_submodule(path)
    if isinstance(getattr(holder, name), nn.Parameter):
        delattr(holder, name)
    if name in holder._buffers:
        holder._buffers[name] = value
    elif hasattr(holder, name):
        setattr(holder, name, value)
    else:
        holder.register_buffer(name, value)


def finished(graph_module: fx.GraphModule) -> fx.GraphModule:
    """The module after its graph was changed."""
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


__all__ = ["DEQUANTIZE", "DEQUANTIZE_CHANNELS", "QUANTIZE", "SIZES", "SOURCE", "VALUE"]
