"""Writes into a part of a tensor as new tensors: the parts before and behind it, and what is written, joined.

A part along one dim is joined by `torch.cat`, which has an int8 kernel with a range of its own. Parts that are written
one behind the other along one dim are joined once.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from rewrites.base import Refusal
from rewrites.passes._writes.builder import Builder, Form, know_as
from rewrites.passes._writes.fitting import as_constant, cast, with_kept_dims
from rewrites.passes._writes.indices import (
    Place,
    along,
    are_counted_alike,
    as_items,
    as_range,
    bounds_of,
    dims_of,
    is_advanced,
    is_dense,
    is_full,
    is_plain,
)
from rewrites.passes._writes.pieces import Joined, Piece
from rewrites.passes._writes.scattered import put
from rewrites.passes._writes.sizes import MAKERS_ALIKE, are_alike, fixed_size, is_by_value
from rewrites.values import is_tensor

_Made = tuple[Form | fx.Node, Joined | None]


@dataclass
class Slices:
    """The writes of one run of the pass, by the node that holds the tensor afterwards."""

    joined: dict[fx.Node, Joined] = field(default_factory=dict)
    writes: dict[fx.Node, tuple[Any, fx.Node]] = field(default_factory=dict)
    first: dict[fx.Node, fx.Node] = field(default_factory=dict)
    sized: dict[fx.Node, fx.Node] = field(default_factory=dict)
    copies: list[fx.Node] = field(default_factory=list)

    def is_written_already(self, whole: fx.Node, index: Any, value: Any) -> bool:
        """Whether `whole` has this value in this place, as `y[a] *= 2` assigns what it changed."""
        if not isinstance(value, fx.Node) or any(isinstance(item, (list, Tensor)) for item in as_items(index)):
            return False
        is_read_there = value.target is operator.getitem and value.args == (whole, index)
        return is_read_there or (whole in self.writes and self.writes[whole] == (index, value))

    def written(self, builder: Builder, whole: fx.Node, index: Any, value: fx.Node) -> fx.Node:
        """`whole` with `value`, of the part's shape and type, in the part that `index` takes."""
        made, joined = self._made(builder, whole, index, value, True)
        node = made if isinstance(made, fx.Node) else builder.insert(made, whole)
        self._note(node, whole, index, value, joined)
        return node

    def assigned(self, builder: Builder, whole: fx.Node, index: Any, value: Any) -> tuple[Form, Joined | None]:
        """The operation that gives `whole` after `whole[index] = value`, and how it puts it together."""
        made, joined = self._made(builder, whole, index, value, False)
        return (Form.method("clone", made) if isinstance(made, fx.Node) else made), joined

    def now_at(self, node: fx.Node, whole: fx.Node, index: Any, value: Any, joined: Joined | None) -> None:
        """Note that `node` has become what `assigned` gave."""
        know_as(node, whole)
        self._note(node, whole, index, value, joined)
        if node.target == "clone":
            self.copies.append(node)

    def _note(self, node: fx.Node, whole: fx.Node, index: Any, value: Any, joined: Joined | None) -> None:
        self.first[node] = self.first.get(whole, whole)
        self.sized[node] = self.sized.get(whole, whole)
        if isinstance(value, fx.Node) and not any(isinstance(item, (list, Tensor)) for item in as_items(index)):
            self.writes[node] = index, value
        if joined is not None:
            self.joined[node] = joined

    # -- which operation it takes -------------------------------------------------------------------

    def _made(self, builder: Builder, whole: fx.Node, index: Any, value: Any, fits: bool) -> _Made:
        graph_module = builder.graph_module
        items = as_items(index)
        if not isinstance(value, fx.Node) and not _is_number(value):
            raise Refusal("what it writes is no tensor of this graph")
        if any(is_advanced(graph_module, item) for item in items):
            return put(builder, whole, items, value), None
        if not all(is_plain(graph_module, item) for item in items):
            raise Refusal("its index is neither of numbers and slices nor of tensors")
        rank = len(whole.meta["shape"]) if "shape" in whole.meta else None
        dims = dims_of(items, rank)
        ranges = {dim: as_range(item) for item, dim in zip(items, dims, strict=True) if dim is not None}
        restricted = [(dim, item) for dim, item in ranges.items() if not is_full(item)]
        if isinstance(value, fx.Node) and not is_tensor(graph_module, value):
            raise Refusal("what it writes is a number that is worked out when the model runs")
        if isinstance(value, fx.Node) and restricted:
            whole = as_constant(builder, whole)
        if not isinstance(value, fx.Node):
            number = builder.constant(value, whole.meta.get("dtype"))
            part = _part(builder, whole, restricted)
            value = builder.insert(Form.method("expand", number, builder.insert(Form.method("size", part))), part)
        elif not fits:
            value = self._fitting(builder, whole, index, value)
            value = with_kept_dims(builder, value, items, dims)
        else:
            value = with_kept_dims(builder, value, items, dims)
        if not restricted:
            return value, None
        return self._along_each(builder, whole, restricted, value)

    def _along_each(
        self, builder: Builder, whole: fx.Node, restricted: list[tuple[int, slice | Place]], value: fx.Node
    ) -> _Made:
        """A write that is bounded along several dims is one along the first into the part, and so on."""
        known = self.joined.get(whole)
        order = sorted(
            restricted, key=lambda one: (known is None or one[0] != known.dim, bounds_of(one[1], None) is None)
        )
        (dim, item), rest = order[0], order[1:]
        size = fixed_size(builder.graph_module, whole, dim)
        if isinstance(item, slice) and not is_dense(item):
            if rest:
                part = _taken(builder, whole, dim, item)
                value = self._inner(builder, part, rest, value)
            return Form.function(torch.slice_scatter, whole, value, dim, item.start, item.stop, item.step), None
        bounds = bounds_of(item, size)
        if bounds is None:
            return self._around(builder, whole, dim, item, rest, value), None
        start, stop = bounds
        before = known.pieces if known is not None and known.dim == dim else (Piece(0, size, whole, 0, True),)
        if rest:
            inside = [piece for one in before if (piece := one.between(start, stop)) is not None]
            part = self._content(builder, dim, inside)
            _know_part(part, whole, dim, None if stop is None else stop - start)
            value = self._inner(builder, part, rest, value)
        pieces = [piece for one in before if (piece := one.between(0, start)) is not None] if start else []
        pieces.append(Piece(start, stop, value, 0, True))
        if stop is not None:
            pieces += [piece for one in before if (piece := one.between(stop, None)) is not None]
        parts = [self._content(builder, dim, [piece]) for piece in pieces]
        return parts[0] if len(parts) == 1 else Form.function(torch.cat, parts, dim), Joined(dim, tuple(pieces))

    def _inner(self, builder: Builder, part: fx.Node, rest: list[tuple[int, slice | Place]], value: fx.Node) -> fx.Node:
        made, joined = self._along_each(builder, part, rest, value)
        node = made if isinstance(made, fx.Node) else builder.insert(made, part)
        if joined is not None:
            self.joined[node] = joined
        return node

    def _around(
        self,
        builder: Builder,
        whole: fx.Node,
        dim: int,
        item: slice | Place,
        rest: list[tuple[int, slice | Place]],
        value: fx.Node,
    ) -> Form:
        """A write between bounds that are not numbers counted from the start: whatever they are, what lies before the
        first is kept, and of what lies behind it as much is dropped as is written."""
        if rest:
            value = self._inner(builder, _taken(builder, whole, dim, item), rest, value)
        start, stop = (item.start, item.stop) if isinstance(item, slice) else (item.at, item.at)
        pieces: list[fx.Node] = []
        if start not in (None, 0):
            pieces.append(_taken(builder, whole, dim, slice(None, start)))
        pieces.append(value)
        if stop not in (None, sys.maxsize):
            if isinstance(item, slice) and are_counted_alike(item):
                tail = _taken(builder, whole, dim, slice(stop, None))
            else:
                length = builder.insert(Form.method("size", value, dim)) if isinstance(item, slice) else 1
                from_start = whole if start in (None, 0) else _taken(builder, whole, dim, slice(start, None))
                tail = _taken(builder, from_start, dim, slice(length, None))
            pieces.append(tail)
        return Form.function(torch.cat, pieces, dim)

    def _content(self, builder: Builder, dim: int, pieces: Sequence[Piece]) -> fx.Node:
        """A tensor of what lies in these pieces."""
        parts = []
        for piece in pieces:
            if piece.is_whole:
                parts.append(piece.source)
                continue
            last = None if piece.stop is None else piece.offset + piece.stop - piece.start
            taken = along(dim, slice(piece.offset or None, last))
            part = builder.insert(Form.function(operator.getitem, piece.source, taken))
            parts.append(part)
        return parts[0] if len(parts) == 1 else builder.insert(Form.function(torch.cat, parts, dim))

    # -- whether a value is of the shape of the part

    def _fitting(self, builder: Builder, whole: fx.Node, index: Any, value: fx.Node) -> fx.Node:
        """A value of the shape and type of the part it is written to, as an assignment makes one."""
        graph_module = builder.graph_module
        value = cast(builder, value, whole)
        if self._has_shape_of_part(graph_module, value, whole, index):
            return value
        part = whole
        if index is not Ellipsis:
            part = builder.insert(Form.function(operator.getitem, self._of_size(whole), index))
            builder.evaluated(part, part.all_input_nodes)
        if "shape" in value.meta and "shape" in part.meta:
            more = len(value.meta["shape"]) - len(part.meta["shape"])
            if more > 0:
                value = builder.insert(Form.function(operator.getitem, value, (0,) * more))
                builder.evaluated(value, value.all_input_nodes)
            if are_alike(graph_module, value, part):
                return value
        return builder.insert(Form.method("expand", value, builder.insert(Form.method("size", part))), part)

    def _of_size(self, whole: fx.Node) -> fx.Node:
        """The tensor to ask for a size: what a tensor was before all writes, or what that was made in the size of."""
        first = self.sized.get(whole, whole)
        like = first.args[0] if first.target in MAKERS_ALIKE and first.args else None
        return like if isinstance(like, fx.Node) else first

    def _has_shape_of_part(self, graph_module: fx.GraphModule, value: fx.Node, whole: fx.Node, index: Any) -> bool:
        """Whether a value is made, value by value, of the part that it is written to.

        It can be assigned, so nothing that had a part in it is larger.
        """
        if "shape" not in value.meta:
            return False
        root, seen, queue = self.first.get(whole, whole), set[fx.Node](), [value]
        while queue:
            node = queue.pop()
            if node in seen or len(node.meta.get("shape", ())) != len(value.meta["shape"]):
                continue
            seen.add(node)
            if node.target is operator.getitem and node.args[1] == index:
                source: Any = node.args[0]
                if self.first.get(source, source) is root:
                    return True
            if is_by_value(graph_module, node):
                queue += node.all_input_nodes
        return False

    def piece_read(self, node: fx.Node) -> tuple[fx.Node, Any] | None:
        """The piece, and the index into it, that a node reads of a joined tensor; None where it reads of several."""
        whole, index = node.args
        return self.joined[whole].piece_read(whole, index) if whole in self.joined else None  # type: ignore[index,arg-type]


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _taken(builder: Builder, whole: fx.Node, dim: int, item: slice | Place) -> fx.Node:
    """The part of a tensor within bounds along a dim."""
    ranges = (item,) if isinstance(item, slice) else (slice(item.at, None), slice(None, 1))
    for one in ranges:
        whole = builder.insert(Form.function(operator.getitem, whole, along(dim, one)))
        builder.evaluated(whole, whole.all_input_nodes)
    return whole


def _part(builder: Builder, whole: fx.Node, restricted: Sequence[tuple[int, slice | Place]]) -> fx.Node:
    """The part of a tensor within these bounds; nothing but its size is asked for."""
    part = whole
    for dim, item in restricted:
        part = _taken(builder, part, dim, item)
    return part


def _know_part(part: fx.Node, whole: fx.Node, dim: int, length: int | None) -> None:
    """Note the shape of a part of `length` along a dim."""
    if "shape" not in whole.meta or "shape" in part.meta or length is None:
        return
    shape = list(whole.meta["shape"])
    shape[dim] = length
    part.meta["shape"] = tuple(shape)
    if "dtype" in whole.meta:
        part.meta["dtype"] = whole.meta["dtype"]


def reads_by_value(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether nobody who reads a value can tell how it lies in memory, as a sum of it in another order could."""
    return all(
        user.target in (torch.cat, torch.stack, "size") or is_by_value(graph_module, user) for user in node.users
    )
