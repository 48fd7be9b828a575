"""Where the channels of a layer's output lie behind operations that only move values. Everything here only looks."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.values import callee, submodule

_FLATTENS = (nn.Flatten, torch.flatten, Tensor.flatten)
_SWAPS = (torch.transpose, Tensor.transpose, torch.swapaxes, Tensor.swapaxes, torch.swapdims, Tensor.swapdims)
_PERMUTES = (torch.permute, Tensor.permute)
_RESHAPES = (torch.reshape, Tensor.reshape, Tensor.view)
_COPIES = (Tensor.contiguous, Tensor.clone, torch.clone, Tensor.detach, nn.Identity)
# What pads with values of the same channel, and how many dimensions at the end.
_PADS = {
    nn.ReflectionPad1d: 1, nn.ReplicationPad1d: 1, nn.CircularPad1d: 1,
    nn.ReflectionPad2d: 2, nn.ReplicationPad2d: 2, nn.CircularPad2d: 2,
}  # fmt: skip
_KEEPING_RANK = (
    nn.Linear, nn.ReLU, nn.ReLU6, nn.GELU, nn.Hardswish, nn.BatchNorm1d, nn.LayerNorm, nn.Dropout, *_COPIES,
)  # fmt: skip


@dataclass(frozen=True)
class Channels:
    """`count` channels along dimension `axis` of `rank`; `spread` where each has several places there, one by one."""

    count: int
    axis: int
    rank: int
    spread: bool = False


def rank_of(graph_module: fx.GraphModule, node: fx.Node) -> int | None:
    """How many dimensions a value has, as far as an example or the way it was made tells."""
    while True:
        if (shape := node.meta.get("shape")) is not None:
            return len(shape)
        kind = callee(graph_module, node)
        if kind in _FLATTENS and _flattened(graph_module, node, None) == (1, -1):
            return 2
        if kind not in _KEEPING_RANK or not node.all_input_nodes:
            return None
        node = node.all_input_nodes[0]


def moved(graph_module: fx.GraphModule, node: fx.Node, channels: Channels) -> Channels | None:
    """Where the channels of its first argument lie in what `node` gives; None when it does more than move values."""
    kind = callee(graph_module, node)
    if kind in _COPIES:
        return channels
    if (places := _padded(kind, node)) is not None:
        return channels if channels.axis < channels.rank - places else None
    if kind in _FLATTENS:
        return _behind_flattening(channels, *_flattened(graph_module, node, channels.rank))
    if kind in _SWAPS and _are_numbers(_listed(node), 2):
        order = list(range(channels.rank))
        first, second = (dim % channels.rank for dim in _listed(node))
        order[first], order[second] = order[second], order[first]
        return replace(channels, axis=order.index(channels.axis))
    if kind in _PERMUTES and _are_numbers(_listed(node), channels.rank):
        order = [dim % channels.rank for dim in _listed(node)]
        return replace(channels, axis=order.index(channels.axis))
    if kind in _RESHAPES:
        return _behind_reshaping(node, channels)
    return None


def moved_or_averaged(graph_module: fx.GraphModule, node: fx.Node, channels: Channels) -> Channels | None:
    """The same behind what averages values of one channel too: a factor and a shift of each channel pass through it."""
    kind, module = callee(graph_module, node), submodule(graph_module, node)
    if kind in (nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool1d, F.adaptive_avg_pool2d):
        return channels if channels.axis == 1 else None
    if isinstance(module, nn.AvgPool2d) and channels.axis == 1:
        return channels if module.padding in (0, (0, 0)) and module.divisor_override is None else None
    if kind not in (torch.mean, Tensor.mean):
        return moved(graph_module, node, channels)
    given: dict[str, Any] = dict(zip(("dim", "keepdim"), node.args[1:], strict=False)) | node.kwargs
    dims = given.get("dim")
    dims = [dims] if isinstance(dims, int) else dims
    if (
        set(given) - {"dim", "keepdim"}
        or not isinstance(dims, (tuple, list))
        or not _are_numbers(tuple(dims), len(dims))
    ):
        return None
    gone = {dim % channels.rank for dim in dims}
    if channels.axis in gone or given.get("keepdim", False):
        return None if channels.axis in gone else channels
    before = sum(dim < channels.axis for dim in gone)
    return replace(channels, axis=channels.axis - before, rank=channels.rank - len(gone))


def _padded(kind: Any, node: fx.Node) -> int | None:
    """How many dimensions at the end a call pads with values of the same channel; None when it does another thing."""
    if kind is not F.pad:
        return _PADS.get(kind)
    given: dict[str, Any] = dict(zip(("pad", "mode"), node.args[1:], strict=False)) | node.kwargs
    if given.get("mode") not in ("reflect", "replicate", "circular") or not isinstance(given.get("pad"), (tuple, list)):
        return None
    return len(given["pad"]) // 2


def _listed(node: fx.Node) -> tuple[Any, ...]:
    """The sizes or dimensions that a call is given, one by one or in a list."""
    given = node.args[1:]
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given


def _are_numbers(values: tuple[Any, ...], count: int) -> bool:
    return len(values) == count and all(isinstance(value, int) for value in values)


def _flattened(graph_module: fx.GraphModule, node: fx.Node, rank: int | None) -> tuple[int, int]:
    """The first and the last dimension that a call flattens; counted from the front where the rank is known."""
    module = submodule(graph_module, node)
    if isinstance(module, nn.Flatten):
        start, end = module.start_dim, module.end_dim
    else:
        given: dict[str, Any] = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | node.kwargs
        start, end = given.get("start_dim", 0), given.get("end_dim", -1)
    return (start, end) if rank is None else (start % rank, end % rank)


def _behind_flattening(channels: Channels, start: int, end: int) -> Channels | None:
    fewer, axis = max(end - start, 0), channels.axis
    if axis < start or fewer == 0:
        return replace(channels, rank=channels.rank - fewer)
    if axis > end:
        return replace(channels, axis=axis - fewer, rank=channels.rank - fewer)
    if axis == start:
        return replace(channels, rank=channels.rank - fewer, spread=True)
    return None


def _behind_reshaping(node: fx.Node, channels: Channels) -> Channels | None:
    sizes = _listed(node)
    if len(node.args) == 2 and _is_shape_of(node.args[1], node.all_input_nodes[0]):
        return channels
    is_last = channels.axis == channels.rank - 1 and not channels.spread
    if is_last and sizes and sizes[-1] == channels.count and isinstance(sizes[-1], int):
        return replace(channels, axis=len(sizes) - 1, rank=len(sizes))
    if channels.axis == 1 and len(sizes) == 2 and sizes[1] == -1 and _is_batch_size(sizes[0], node.all_input_nodes[0]):
        return replace(channels, rank=2, spread=channels.spread or channels.rank > 2)
    return None


def _is_shape_of(shape: Any, value: fx.Node) -> bool:
    if not isinstance(shape, fx.Node) or shape.args[0] is not value:
        return False
    return shape.args[1:] == ("shape",) if shape.target is getattr else shape.target == "size" and len(shape.args) == 1


def _asked_for_its_first_size(size: fx.Node) -> fx.Node | None:
    """The value of which `size` is `value.size(0)`, `value.shape[0]` or `value.size()[0]`."""
    asked: Any = size
    if size.target is operator.getitem and size.args[1] == 0:
        asked = size.args[0]
        is_shape = asked.target is getattr and asked.args[1] == "shape"
        return asked.args[0] if is_shape or (asked.target == "size" and len(asked.args) == 1) else None
    return asked.args[0] if asked.target == "size" and asked.args[1:] == (0,) else None


def _is_batch_size(size: Any, value: Any) -> bool:
    """Whether a size is worked out as how many there are along the first dimension of some value, and of this one."""
    asked = _asked_for_its_first_size(size) if isinstance(size, fx.Node) else None
    if asked is None:
        return False
    first, second = asked.meta.get("shape"), value.meta.get("shape")
    return asked is value or (first is not None and second is not None and first[:1] == second[:1] != ())
