"""Between which ends the values of a node lie, whatever the model is given: what follows a ReLU is not negative."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites import frames
from rewrites import modules as m
from rewrites.memory import changed_value, changes_in_place
from rewrites.values import callee, submodule

Interval = tuple[float, float]
ANYTHING: Interval = (-math.inf, math.inf)
_POSITIVE: Interval = (0.0, math.inf)
# So many operations are looked through; what lies further back counts as anything.
_DEPTH = 32

_OWN: dict[Any, Interval] = {
    **dict.fromkeys((nn.ReLU, m.AddReLU, F.relu, torch.relu, Tensor.relu, Tensor.relu_, nn.Softplus), _POSITIVE),
    **dict.fromkeys((torch.abs, Tensor.abs, torch.exp, Tensor.exp, torch.sqrt, Tensor.sqrt), _POSITIVE),
    **dict.fromkeys((torch.square, Tensor.square), _POSITIVE),
    **dict.fromkeys((nn.ReLU6, F.relu6), (0.0, 6.0)),
    **dict.fromkeys((nn.Sigmoid, torch.sigmoid, Tensor.sigmoid, F.sigmoid, nn.Hardsigmoid, F.hardsigmoid), (0.0, 1.0)),
    **dict.fromkeys((nn.Softmax, F.softmax, torch.softmax, Tensor.softmax), (0.0, 1.0)),
    **dict.fromkeys((nn.Tanh, torch.tanh, Tensor.tanh, F.tanh), (-1.0, 1.0)),
}

# What gives values between the least and the greatest of what it is given; averages and copies.
_WITHIN = frozenset(
    {
        nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
        nn.AdaptiveMaxPool2d, nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Unflatten, nn.PixelShuffle,
        nn.PixelUnshuffle, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, F.max_pool2d, F.adaptive_avg_pool2d,
        F.adaptive_avg_pool1d, F.pixel_shuffle, torch.mean, Tensor.mean, torch.amax, Tensor.amax, torch.amin,
        Tensor.amin, operator.getitem, torch.chunk, Tensor.chunk, torch.split, Tensor.split, torch.flatten,
        Tensor.flatten,
        torch.reshape, Tensor.reshape, Tensor.view, torch.permute, Tensor.permute, torch.transpose, Tensor.transpose,
        torch.squeeze, Tensor.squeeze, torch.unsqueeze, Tensor.unsqueeze, Tensor.contiguous, Tensor.expand,
        torch.unbind, Tensor.unbind, torch.clone, Tensor.clone, torch.cat, torch.stack, m.Cat, m.Stack,
        torch.maximum, torch.minimum,
    }
)  # fmt: skip


def interval(graph_module: fx.GraphModule, node: fx.Node) -> Interval:
    """The ends of the values of `node`, infinite where nothing is known. NaN is left out of account."""
    if any(changes_in_place(graph_module, one) and changed_value(one) is node for one in node.users):
        return ANYTHING
    return _interval(graph_module, node, _DEPTH)


def _interval(graph_module: fx.GraphModule, node: fx.Node, depth: int) -> Interval:
    called, module = callee(graph_module, node), submodule(graph_module, node)
    if isinstance(module, m.Wrapped):
        called, module = type(module.op), module.op
    if called in _OWN:
        return _OWN[called]
    if isinstance(module, (m.CappedReLU, m.ChannelReLU)):
        return 0.0, math.inf if module.cap is None else module.cap
    if isinstance(module, nn.Hardtanh):
        return float(module.min_val), float(module.max_val)
    given = [one for one in node.all_input_nodes if one.op != "get_attr"]
    if depth == 0 or not given or len(given) != len(node.all_input_nodes):
        return ANYTHING
    if called in _WITHIN:
        ends = [_interval(graph_module, one, depth - 1) for one in given]
        return min(low for low, _ in ends), max(high for _, high in ends)
    rule = _MOVED.get(called)  # type: ignore[arg-type]
    return rule(module, *(_interval(graph_module, one, depth - 1) for one in given)) if rule else ANYTHING


def _plus(module: Any, given: Interval) -> Interval:
    return given[0] + module.scalar, given[1] + module.scalar


def _times(module: Any, given: Interval) -> Interval:
    ends = [0.0 if module.scalar == 0 else end * module.scalar for end in given]
    return min(ends), max(ends)


def _sum(module: Any, first: Interval, second: Interval | None = None) -> Interval:
    second = first if second is None else second
    return first[0] + second[0], first[1] + second[1]


def _product(module: Any, first: Interval, second: Interval | None = None) -> Interval:
    second = first if second is None else second
    ends = [0.0 if 0 in (one, other) else one * other for one in first for other in second]
    return min(ends), max(ends)


def _with_zeros(module: Any, given: Interval) -> Interval:
    """An average that may count zeros around the image."""
    return min(given[0], 0.0), max(given[1], 0.0)


def _first(module: Any, given: Interval, *sizes: Interval) -> Interval:
    return given


_MOVED: dict[Callable[..., Any], Callable[..., Interval]] = {
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), _with_zeros),
    **dict.fromkeys((frames.ToFrames, frames.FromFrames, frames.ToColumns, frames.FromColumns), _first),
    m.AddScalar: _plus, m.MulScalar: _times, m.DivScalar: _times, m.Add: _sum, m.Mul: _product,
}  # fmt: skip
