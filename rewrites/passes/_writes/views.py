"""Views that are certainly ones, taken anew of another value, and what is written through one put back."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import Refusal
from rewrites.memory import is_basic_index
from rewrites.passes._writes.builder import Builder, Form
from rewrites.passes._writes.indices import along, are_disjoint
from rewrites.passes._writes.slices import Slices
from rewrites.values import callee, holds_several, submodule

_Key = Callable[..., Any]

# Dims in another order. Each has itself for its inverse, but for permute and movedim.
_SWAPS: frozenset[_Key] = frozenset(
    {torch.transpose, Tensor.transpose, torch.swapaxes, Tensor.swapaxes, torch.swapdims, Tensor.swapdims, torch.t,
     Tensor.t}
)  # fmt: skip
_PERMUTES: frozenset[_Key] = frozenset({torch.permute, Tensor.permute})
_MOVES: frozenset[_Key] = frozenset({torch.movedim, Tensor.movedim, torch.moveaxis, Tensor.moveaxis})

# The same values in other dims. The first are always views, the others of what lies in memory in order.
_GROUPED: frozenset[_Key] = frozenset(
    {Tensor.view, Tensor.view_as, torch.unsqueeze, Tensor.unsqueeze, torch.squeeze, Tensor.squeeze, torch.unflatten,
     Tensor.unflatten}
)  # fmt: skip
_GROUPED_IN_ORDER: frozenset[_Key] = frozenset(
    {torch.reshape, Tensor.reshape, Tensor.reshape_as, torch.flatten, Tensor.flatten, torch.ravel, Tensor.ravel}
)
# The value itself.
_SAME: frozenset[_Key] = frozenset({Tensor.detach, torch.detach, operator.pos})
_SAME_IN_ORDER: frozenset[_Key] = frozenset({Tensor.contiguous})

_SELECTS: frozenset[_Key] = frozenset({torch.select, Tensor.select})
_NARROWS: frozenset[_Key] = frozenset({torch.narrow, Tensor.narrow})
_SPLITS: frozenset[_Key] = frozenset(
    {torch.chunk, Tensor.chunk, torch.split, Tensor.split, torch.tensor_split, Tensor.tensor_split,
     torch.split_with_sizes, Tensor.split_with_sizes}
)  # fmt: skip
_UNBINDS: frozenset[_Key] = frozenset({torch.unbind, Tensor.unbind})


def viewed(graph_module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The tensor that the value of `node` is certainly a view of; None where it may be a copy, or is no view.

    Of a member of what `chunk`, `split` or `unbind` gives it is the tensor that was taken apart.
    """
    if node.op not in ("call_function", "call_method") or not node.args:
        return None
    target, value = callee(graph_module, node), node.args[0]
    if not isinstance(value, fx.Node):
        return None
    if target in _SPLITS | _UNBINDS:
        return value
    if target is operator.getitem:
        if _is_taken_apart(graph_module, value):
            whole = value.args[0]
            return whole if isinstance(node.args[1], int) and isinstance(whole, fx.Node) else None
        return value if not holds_several(graph_module, value) and is_basic_index(graph_module, node.args[1]) else None
    if target is getattr:
        is_turned = node.args[1] == "mT" or (node.args[1] == "T" and len(value.meta.get("shape", ())) == 2)
        return value if is_turned or node.args[1] == "data" else None
    if target is Tensor.view and any(isinstance(item, torch.dtype) for item in (*node.args, *node.kwargs.values())):
        return None
    if target in _SWAPS | _PERMUTES | _MOVES | _GROUPED | _SAME | _SELECTS | _NARROWS:
        return value
    in_order = target in _GROUPED_IN_ORDER or (target in _SAME_IN_ORDER and len(node.args) == 1 and not node.kwargs)
    return value if in_order and lies_in_order(graph_module, value) else None


def _is_taken_apart(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    return callee(graph_module, node) in _SPLITS | _UNBINDS


def lies_in_order(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a value lies in memory in the order of its dims, whatever their sizes are."""
    if "in_order" in node.meta:  # what a tensor became that did
        return bool(node.meta["in_order"])
    target = callee(graph_module, node)
    if target in _SAME_IN_ORDER:
        return node.meta.get("contiguous") is not False  # as of one that was put in where nobody knew
    if target in _GROUPED | _GROUPED_IN_ORDER | _SAME:
        value = node.args[0]
        return isinstance(value, fx.Node) and lies_in_order(graph_module, value)
    if viewed(graph_module, node) is not None or node.op == "placeholder":
        return False  # the images may lie in memory in any order
    return bool(node.meta.get("contiguous", isinstance(submodule(graph_module, node), nn.Conv2d)))


def _bound(node: fx.Node, names: tuple[str, ...], defaults: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """The arguments of a call by their places; refuses one that lacks some, or has more."""
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD
    ends = (inspect.Parameter.empty,) * (len(names) - len(defaults)) + defaults
    signature = inspect.Signature(
        [inspect.Parameter(name, kinds, default=end) for name, end in zip(names, ends, strict=True)]
    )
    try:
        bound = signature.bind(*node.args, **node.kwargs)
    except TypeError as error:
        raise Refusal(f"it is seen through {node.name}, whose arguments are not those of a plain view") from error
    bound.apply_defaults()
    return tuple(bound.arguments.values())


def disjoint(graph_module: fx.GraphModule, one: fx.Node, other: fx.Node) -> bool:
    """Whether two views of one tensor have no value in common, as two members of a chunk have none."""
    if callee(graph_module, one) is operator.getitem and callee(graph_module, other) is operator.getitem:
        if _is_taken_apart(graph_module, one.args[0]) and one.args[0] is other.args[0]:  # type: ignore[arg-type]
            first, second = one.args[1], other.args[1]
            return (
                isinstance(first, int) and isinstance(second, int) and first != second and (first < 0) == (second < 0)
            )
        if one.args[0] is other.args[0] and viewed(graph_module, one) and viewed(graph_module, other):
            return are_disjoint(one.args[1], other.args[1])
    return False


def taken_anew(builder: Builder, node: fx.Node, value: fx.Node) -> fx.Node:
    """The same view of another value, which is of the shape of what `node` is a view of."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    if callee(builder.graph_module, node) is operator.getitem and _is_taken_apart(builder.graph_module, source):
        value = _apart(builder, source, value)
    return builder.insert(Form(node.op, node.target, (value, *node.args[1:]), dict(node.kwargs)), node, node.name)


def _apart(builder: Builder, several: fx.Node, value: fx.Node) -> fx.Node:
    """Another tensor taken apart as this one is."""
    form = Form(several.op, several.target, (value, *several.args[1:]), dict(several.kwargs))
    fresh = builder.insert(form, stem=several.name)
    if "members" in several.meta:
        fresh.meta["members"] = several.meta["members"]
    return fresh


def put_back(builder: Builder, slices: Slices, node: fx.Node, whole: fx.Node, value: fx.Node) -> fx.Node:
    """What `whole`, of which `node` is a view, has become when the view has become `value`."""
    graph_module = builder.graph_module
    target, source = callee(graph_module, node), node.args[0]
    assert isinstance(source, fx.Node)
    if target is operator.getitem and _is_taken_apart(graph_module, source):
        return _joined(builder, node, source, whole, value)
    if target is operator.getitem:
        return slices.written(builder, whole, node.args[1], value)
    if target in _SELECTS:
        _, dim, index = _bound(node, ("input", "dim", "index"))
        return slices.written(builder, whole, along(_number(node, dim), index), value)
    if target in _NARROWS:
        _, dim, start, length = _bound(node, ("input", "dim", "start", "length"))
        if not isinstance(start, int) or not isinstance(length, int) or start < 0:
            raise Refusal(f"it is seen through {node.name}, whose bounds are worked out when the model runs")
        index = along(_number(node, dim), slice(start, start + length))
        return slices.written(builder, whole, index, value)
    if target in _SAME | _SAME_IN_ORDER or (target is getattr and node.args[1] == "data"):
        return value
    if (turned := _turned_back(node, target, value)) is not None:
        back = builder.insert(turned, whole)
        # a sum of it goes through its memory in the order that it had
        return builder.insert(Form.method("contiguous", back), whole) if lies_in_order(graph_module, whole) else back
    size = builder.insert(Form.method("size", whole))
    return builder.insert(Form.method("reshape", value, size), whole)


def _turned_back(node: fx.Node, target: Any, value: fx.Node) -> Form | None:
    """What undoes a view with its dims in another order; None of a view of another kind."""
    if target is getattr:
        return Form.method("transpose", value, -2, -1)
    if target in _SWAPS:
        return Form(node.op, node.target, (value, *node.args[1:]), dict(node.kwargs))
    if target in _PERMUTES:
        return Form.method("permute", value, _inverse(node))
    if target in _MOVES:
        _, start, end = _bound(node, ("input", "source", "destination"))
        return Form.method("movedim", value, end, start)
    return None


def _number(node: fx.Node, value: Any) -> int:
    if not isinstance(value, int):
        raise Refusal(f"it is seen through {node.name}, whose dim is worked out when the model runs")
    return value


def _inverse(node: fx.Node) -> tuple[int, ...]:
    dims = node.kwargs.get("dims", node.args[1:])
    if isinstance(dims, tuple) and len(dims) == 1 and isinstance(dims[0], (tuple, list)):
        (dims,) = dims
    if not isinstance(dims, (tuple, list)) or not all(isinstance(dim, int) for dim in dims):
        raise Refusal(f"it is seen through {node.name}, whose dims are worked out when the model runs")
    order = [int(dim) % len(dims) for dim in dims]
    return tuple(order.index(dim) for dim in range(len(order)))


def _joined(builder: Builder, node: fx.Node, several: fx.Node, whole: fx.Node, value: fx.Node) -> fx.Node:
    """The members of what was taken apart, one of them another, put together again."""
    count = several.meta.get("members")
    dim = several.kwargs.get("dim", several.args[2] if len(several.args) > 2 else 0)
    unbinds = callee(builder.graph_module, several) in _UNBINDS
    if unbinds:
        dim = several.kwargs.get("dim", several.args[1] if len(several.args) > 1 else 0)
    if count is None:
        raise Refusal(f"it is seen through {several.name}, of which nobody knows how many members it has")
    place = int(node.args[1]) % count  # type: ignore[arg-type]
    if several.args[0] is not whole:  # it was changed since
        several = _apart(builder, several, whole)
    parts = [
        value if index == place else builder.insert(Form.function(operator.getitem, several, index))
        for index in range(count)
    ]
    joined = torch.stack if unbinds else torch.cat
    return builder.insert(Form.function(joined, parts, _number(node, dim)), whole)
