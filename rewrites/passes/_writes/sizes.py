"""What is known of sizes that are not the example's alone: those that are the same for images of any size and number,
and values that are of one shape with another whatever that is."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.passes._writes.indices import as_items, dims_of, is_full
from rewrites.values import callee, is_scalar, submodule

# What makes a tensor of sizes, and of a tensor one of its size.
_MAKERS: frozenset[Any] = frozenset({torch.zeros, torch.ones, torch.full, torch.empty})
MAKERS_ALIKE: frozenset[Any] = frozenset({torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like})
MAKERS = _MAKERS | MAKERS_ALIKE


# Operations value by value: their result is of the shape of one of their operands, as far as that is not broadcast.
_BY_VALUE_NAMES = (
    "add", "sub", "mul", "div", "true_divide", "pow", "square", "sqrt", "rsqrt", "exp", "log", "abs", "neg", "sigmoid",
    "tanh", "relu", "clamp", "clip", "softmax", "sin", "cos", "round", "floor", "ceil", "logit", "reciprocal", "clone",
    "float", "to", "maximum", "minimum",
)  # fmt: skip
_BY_VALUE: frozenset[Any] = frozenset(
    getattr(home, name)
    for home in (torch, Tensor, nn.functional, operator)
    for name in (*_BY_VALUE_NAMES, "truediv")
    if hasattr(home, name)
)
_LAYERS_BY_VALUE = (
    nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU, nn.ELU,
    nn.Softmax, nn.Dropout, nn.BatchNorm2d, nn.Identity, nn.PReLU, nn.Softplus, nn.LayerNorm, nn.GroupNorm,
)  # fmt: skip
# Layers that give one result for each image, whatever its size.
_LAYERS_BY_IMAGE = (
    *_LAYERS_BY_VALUE, nn.Conv2d, nn.Conv1d, nn.ConvTranspose2d, nn.Linear, nn.MaxPool2d, nn.AvgPool2d,
    nn.AdaptiveAvgPool2d, nn.Upsample, nn.ZeroPad2d, nn.InstanceNorm2d, nn.PixelShuffle,
)  # fmt: skip


def is_by_value(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(submodule(graph_module, node), _LAYERS_BY_VALUE)
    return callee(graph_module, node) in _BY_VALUE


def are_alike(graph_module: fx.GraphModule, value: fx.Node, part: fx.Node) -> bool:
    """Whether two values are of one shape for images of any size and number."""
    shape = value.meta["shape"]
    if shape != part.meta.get("shape") or 1 in shape[1:]:
        return False
    return bool(shape) and (
        shape[0] != 1 or bool(_counted_alike(graph_module, value) & _counted_alike(graph_module, part))
    )


def _counted_alike(graph_module: fx.GraphModule, node: fx.Node) -> set[fx.Node]:
    """A value, and those it is made of whose first dim is its first dim, whatever its size is."""
    found, queue = set[fx.Node](), [node]
    while queue:
        node = queue.pop()
        if node in found:
            continue
        found.add(node)
        rank = len(node.meta.get("shape", ()))
        if node.op == "call_module" and isinstance(submodule(graph_module, node), _LAYERS_BY_IMAGE):
            queue += node.all_input_nodes if rank > 1 else []
        elif node.target is operator.getitem and isinstance(node.args[0], fx.Node):
            first = as_items(node.args[1])[0]
            queue += [node.args[0]] if first is Ellipsis or (isinstance(first, slice) and is_full(first)) else []
        elif is_by_value(graph_module, node):
            operands = [one for one in node.all_input_nodes if len(one.meta.get("shape", ())) == rank]
            queue += operands if len(operands) == 1 else []
        elif (node.target is torch.cat and len(node.args) > 1 and node.args[1] != 0) or node.target in MAKERS_ALIKE:
            queue += node.all_input_nodes[:1]
        elif node.target in _MAKERS or node.target == "expand":
            sizes = sizes_given(node) if node.target in _MAKERS else node.args[1]
            first = sizes[0] if isinstance(sizes, (tuple, list)) and sizes else sizes
            queue += [source] if (source := _measured(first)) is not None else []
    return found


def _measured(size: Any) -> fx.Node | None:
    """The tensor whose first size this is, or all of whose sizes."""
    if not isinstance(size, fx.Node) or not isinstance(size.args[0], fx.Node):
        return None
    if size.target is operator.getitem and size.args[1] == 0:
        return _measured(size.args[0])
    if size.target == "size" and size.args[1:] in ((), (0,)):
        return size.args[0]
    return size.args[0] if size.target is getattr and size.args[1] == "shape" else None


def fixed_size(graph_module: fx.GraphModule, node: fx.Node, dim: int) -> int | None:
    """The size of a dim where it is the same for images of any size and number; None where nobody knows."""
    shape = node.meta.get("shape")
    if shape is None or not -len(shape) <= dim < len(shape):
        return None
    at, size = dim % len(shape), shape[dim]
    return size if _is_fixed(graph_module, node, at, 0) else None


def _is_fixed(graph_module: fx.GraphModule, node: Any, at: int, depth: int) -> bool:
    if not isinstance(node, fx.Node) or depth > 50:
        return False
    rank = len(node.meta.get("shape", ()))
    if node.op == "get_attr":
        return True
    module = submodule(graph_module, node)
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)):
        return at == rank - (2 if isinstance(module, nn.Conv1d) else 3)
    if isinstance(module, nn.Linear):
        return at == rank - 1 or _is_fixed(graph_module, node.args[0], at, depth + 1)
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d, nn.Upsample, nn.AdaptiveAvgPool2d)):
        return at == rank - 3 and _is_fixed(graph_module, node.args[0], at, depth + 1)
    if node.target == "expand" and isinstance(node.args[1], fx.Node):
        return node.args[1].target == "size" and _is_fixed(graph_module, node.args[1].args[0], at, depth + 1)
    if node.target in _MAKERS or (node.target == "expand" and isinstance(node.args[1], (list, tuple))):
        sizes: Any = sizes_given(node) if node.target in _MAKERS else node.args[1]
        return len(sizes) == rank and isinstance(sizes[at], int)
    if node.target in MAKERS_ALIKE:
        return bool(node.args) and _is_fixed(graph_module, node.args[0], at, depth + 1)
    if node.target is torch.cat and isinstance(node.args[0], (list, tuple)):
        whole_dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        parts = node.args[0] if isinstance(whole_dim, int) and whole_dim % max(rank, 1) == at else node.args[0][:1]
        return all(_is_fixed(graph_module, part, at, depth + 1) for part in parts)
    if node.target is operator.getitem and isinstance(node.args[0], fx.Node):
        source, items = node.args[0], as_items(node.args[1])
        dims = dims_of(items, len(source.meta.get("shape", ())))
        if rank != len(source.meta.get("shape", ())) or not all(i is Ellipsis or isinstance(i, slice) for i in items):
            return False
        return _is_fixed(graph_module, source, at, depth + 1) and (
            at not in dims or _is_of_numbers(items[dims.index(at)])
        )
    if is_by_value(graph_module, node):
        return any(
            _is_fixed(graph_module, one, at, depth + 1)
            for one in node.all_input_nodes
            if one.meta.get("shape") == node.meta.get("shape")
        )
    return False


def _is_of_numbers(item: Any) -> bool:
    return isinstance(item, slice) and not any(isinstance(end, fx.Node) for end in (item.start, item.stop, item.step))


def sizes_given(node: fx.Node) -> tuple[Any, ...]:
    given = node.args if node.args else (node.kwargs.get("size", ()),)
    first = given[0]
    if isinstance(first, (tuple, list)):
        return tuple(first)
    return given if all(is_scalar(one) or isinstance(one, fx.Node) for one in given) else ()
