"""Parts of a tensor: each a slice of its own, in int8."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from fxconv.targets.qdq.rules import qdq_nodes as nodes

_SPLITS = frozenset(
    {torch.chunk, Tensor.chunk, torch.split, Tensor.split, torch.tensor_split, Tensor.tensor_split}
)  # fmt: skip
_UNBINDS = frozenset({torch.unbind, Tensor.unbind})
_SELECTS = frozenset({torch.select, Tensor.select})
_NARROWS = frozenset({torch.narrow, Tensor.narrow})


def slices(graph_module: fx.GraphModule) -> fx.GraphModule:
    """What chunk, split, unbind, select and an index take of a tensor is a slice of it, and a reshape where needed.

    Chunks are made by a portable operator, in float, which splits the delegate. It slices in int8 along one dimension,
    without steps: of several, each gives int8 values to the next, and a step is a dimension of its own.
    """
    for node in list(graph_module.graph.nodes):
        source = nodes.given(node)[0] if nodes.given(node) else None
        if not isinstance(source, fx.Node):
            continue
        if node.target is operator.getitem and nodes.sizes(source) is None:
            _member(graph_module, node, source)
        elif node.target is operator.getitem:
            cuts = _cuts(nodes.given(node)[1], nodes.sizes(source) or ())
            if cuts is not None:
                _cut(node, source, cuts)
        elif nodes.calls_any(graph_module, node, _SELECTS) and (known := nodes.sizes(source)) is not None:
            dim, index = nodes.given(node)[1] % len(known), nodes.given(node)[2]
            if (size := known[dim]) is not None and isinstance(index, int):
                _cut(node, source, [(dim, index % size, 1, 1)])
    return nodes.finished(graph_module)


def _member(graph_module: fx.GraphModule, node: fx.Node, split: fx.Node) -> None:
    """One of what a split gives."""
    unbinds = nodes.calls_any(graph_module, split, _UNBINDS)
    source = nodes.given(split)[0] if nodes.given(split) else None
    known, wanted = nodes.sizes(source), nodes.sizes(node)
    if not (unbinds or nodes.calls_any(graph_module, split, _SPLITS)) or known is None or wanted is None:
        return
    dim = nodes.argument(split, 1, "dim", 0) if unbinds else nodes.argument(split, 2, "dim", 0)
    dim %= len(known)
    parts = split.meta[nodes.SIZES]
    index = nodes.given(node)[1] % len(parts)
    lengths = [1 if unbinds else part[dim] for part in parts]
    if any(length is None for length in lengths) or known[dim] is None:
        return
    _cut(node, nodes.given(split)[0], [(dim, sum(lengths[:index]), lengths[index], 1)])


# Dimension, first place, number of places, and the step from one to the next.
_Cut = tuple[int, int, int, int]


def _cuts(index: Any, known: tuple[Any, ...]) -> list[_Cut] | None:
    """What an index takes of a tensor of these sizes; None where it is more than slices and numbers."""
    given = list(index) if isinstance(index, tuple) else [index]
    if any(not (each is Ellipsis or isinstance(each, (int, slice))) or isinstance(each, bool) for each in given):
        return None
    if Ellipsis in given:
        at = given.index(Ellipsis)
        given[at : at + 1] = [slice(None)] * (len(known) - len(given) + 1)
    found: list[_Cut] = []
    for dim, each in enumerate(given):
        size = known[dim]
        if each == slice(None):
            continue
        if size is None:
            return None
        if isinstance(each, int):
            found.append((dim, each % size, 1, 1))
            continue
        if not all(part is None or isinstance(part, int) for part in (each.start, each.stop, each.step)):
            return None
        start, stop, step = each.indices(size)
        if step < 1 or (step > 1 and (size % step or start >= step or stop != size)):
            return None
        found.append((dim, start, len(range(start, stop, step)), step))
    return found


def _cut(node: fx.Node, source: fx.Node, cuts: list[_Cut]) -> None:
    """The slices one after the other, and the shape that the node gives."""
    between = nodes.inner_settings(node)
    shape = [-1 if size is None else size for size in nodes.sizes(source) or ()]
    wanted = tuple(-1 if size is None else size for size in nodes.sizes(node) or ())
    if shape.count(-1) > 1 and any(step > 1 for *_, step in cuts):
        return
    if wanted.count(-1) > 1 and len(wanted) != len(shape):  # a reshape works out one size alone
        return
    with node.graph.inserting_before(node):
        steps: list[Any] = []
        for dim, start, length, step in cuts:
            if step > 1:
                steps.append((torch.reshape, ((*shape[:dim], length, step, *shape[dim + 1 :]),)))
                steps.append((torch.narrow, (dim + 1, start, 1)))
                shape[dim] = length
                steps.append((torch.reshape, (tuple(shape),)))
            elif (start, length) != (0, shape[dim]):
                steps.append((torch.narrow, (dim, start, length)))
                shape[dim] = length
        if tuple(shape) != wanted:
            steps.append((torch.reshape, (wanted,)))
        value = nodes.own(source)
        for number, (function, arguments) in enumerate(steps):
            value = nodes.call(node, function, value, *arguments)
            value = nodes.requantized(node, value, between) if number < len(steps) - 1 else value
    nodes.replace(node, value)
