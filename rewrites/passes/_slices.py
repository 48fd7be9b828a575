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
from torch import Tensor, fx, nn

from rewrites.base import Refusal
from rewrites.passes._builder import Builder, Form, know_as
from rewrites.values import callee, is_scalar, is_tensor, is_truth, is_whole, submodule

_FULL = slice(None)


def along(dim: int, item: Any) -> tuple[Any, ...]:
    """The index that takes `item` of one dim, and all of the others."""
    return (_FULL,) * dim + (item,) if dim >= 0 else (Ellipsis, item) + (_FULL,) * (-dim - 1)


def _is_full(item: Any) -> bool:
    return isinstance(item, slice) and item.start in (None, 0) and item.stop in (None, sys.maxsize) and _is_dense(item)


def _is_dense(item: slice) -> bool:
    return item.step in (None, 1)


def _as_items(index: Any) -> tuple[Any, ...]:
    return tuple(index) if isinstance(index, tuple) else (index,)


def _dims(items: Sequence[Any], rank: int | None) -> list[int | None]:
    """The dim each item of an index takes from; None of one that takes none. Behind an ellipsis they are negative,
    unless the rank is known."""
    place = next((at for at, item in enumerate(items) if item is Ellipsis), len(items))
    dims: list[int | None] = []
    taken = 0
    for item in items[:place]:
        dims.append(None if item is None else taken)
        taken += item is not None
    behind: list[int | None] = []
    left = 0
    for item in reversed(items[place + 1 :]):
        left += item is not None
        behind.append(None if item is None else (-left if rank is None else rank - left))
    return dims + [None] * (place < len(items)) + behind[::-1]


@dataclass(frozen=True)
class Piece:
    """What lies in a joined tensor from `start` to before `stop`: these values of `source`, from its `offset` on.

    A `stop` of None is the end. `is_whole` says that it is all of `source`.
    """

    start: int
    stop: int | None
    source: fx.Node
    offset: int = 0
    is_whole: bool = False

    def between(self, start: int, stop: int | None) -> Piece | None:
        """The part of it within these bounds; None when there is none."""
        first = max(self.start, start)
        last = self.stop if stop is None else stop if self.stop is None else min(self.stop, stop)
        if last is not None and first >= last:
            return None
        if (first, last) == (self.start, self.stop):
            return self
        return Piece(first, last, self.source, self.offset + first - self.start)


@dataclass(frozen=True)
class Joined:
    """How a joined tensor is put together along one dim."""

    dim: int
    pieces: tuple[Piece, ...]


_Made = tuple[Form | fx.Node, Joined | None]


@dataclass
class Slices:
    """The writes of one run of the pass, by the node that holds the tensor afterwards."""

    joined: dict[fx.Node, Joined] = field(default_factory=dict)
    writes: dict[fx.Node, tuple[Any, fx.Node]] = field(default_factory=dict)
    first: dict[fx.Node, fx.Node] = field(default_factory=dict)
    sized: dict[fx.Node, fx.Node] = field(default_factory=dict)
    copies: list[fx.Node] = field(default_factory=list)

    @staticmethod
    def are_disjoint(one: Any, other: Any) -> bool:
        """Whether two indices take different values of a tensor, by numbers in one and the same place."""
        first, second = _as_items(one), _as_items(other)
        if None in first or None in second:
            return False
        for a, b in zip(first, second, strict=False):
            if a is Ellipsis or b is Ellipsis:
                return False
            bounds = [_bounds(item, None) for item in (a, b)]
            if None not in bounds:
                (start, stop), (begin, end) = bounds  # type: ignore[misc]
                if (stop is not None and stop <= begin) or (end is not None and end <= start):
                    return True
        return False

    def is_written_already(self, whole: fx.Node, index: Any, value: Any) -> bool:
        """Whether `whole` has this value in this place, as `y[a] *= 2` assigns what it changed."""
        if not isinstance(value, fx.Node) or any(isinstance(item, (list, Tensor)) for item in _as_items(index)):
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
        if isinstance(value, fx.Node) and not any(isinstance(item, (list, Tensor)) for item in _as_items(index)):
            self.writes[node] = index, value
        if joined is not None:
            self.joined[node] = joined

    # -- which operation it takes -------------------------------------------------------------------

    def _made(self, builder: Builder, whole: fx.Node, index: Any, value: Any, fits: bool) -> _Made:
        graph_module = builder.graph_module
        items = _as_items(index)
        if not isinstance(value, fx.Node) and not is_number(value):
            raise Refusal("what it writes is no tensor of this graph")
        if any(_is_advanced(graph_module, item) for item in items):
            return _put(builder, whole, items, value), None
        if not all(_is_plain(graph_module, item) for item in items):
            raise Refusal("its index is neither of numbers and slices nor of tensors")
        rank = len(whole.meta["shape"]) if "shape" in whole.meta else None
        dims = _dims(items, rank)
        ranges = {dim: _as_range(item) for item, dim in zip(items, dims, strict=True) if dim is not None}
        restricted = [(dim, item) for dim, item in ranges.items() if not _is_full(item)]
        if isinstance(value, fx.Node) and _holds_number(graph_module, value):
            raise Refusal("what it writes is a number that is worked out when the model runs")
        if isinstance(value, fx.Node) and restricted:
            whole = _as_constant(builder, whole)
        if not isinstance(value, fx.Node):
            number = builder.constant(value, whole.meta.get("dtype"))
            part = _part(builder, whole, restricted)
            value = builder.insert(Form.method("expand", number, builder.insert(Form.method("size", part))), part)
        elif not fits:
            value = self._fitting(builder, whole, index, value)
            value = _with_kept_dims(builder, value, items, dims)
        else:
            value = _with_kept_dims(builder, value, items, dims)
        if not restricted:
            return value, None
        return self._along_each(builder, whole, restricted, value)

    def _along_each(
        self, builder: Builder, whole: fx.Node, restricted: list[tuple[int, slice | Place]], value: fx.Node
    ) -> _Made:
        """A write that is bounded along several dims is one along the first into the part, and so on."""
        known = self.joined.get(whole)
        order = sorted(
            restricted, key=lambda one: (known is None or one[0] != known.dim, _bounds(one[1], None) is None)
        )
        (dim, item), rest = order[0], order[1:]
        size = fixed_size(builder.graph_module, whole, dim)
        if isinstance(item, slice) and not _is_dense(item):
            if rest:
                part = _taken(builder, whole, dim, item)
                value = self._inner(builder, part, rest, value)
            return Form.function(torch.slice_scatter, whole, value, dim, item.start, item.stop, item.step), None
        bounds = _bounds(item, size)
        if bounds is None:
            return self._around(builder, whole, dim, item, rest, value), None
        start, stop = bounds
        before = known.pieces if known is not None and known.dim == dim else (Piece(0, size, whole, 0, True),)
        if rest:
            inside = [piece for one in before if (piece := one.between(start, stop)) is not None]
            part = self._content(builder, dim, inside)
            know_part(part, whole, dim, None if stop is None else stop - start)
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
            if isinstance(item, slice) and _are_counted_alike(item):
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
            if _are_alike(graph_module, value, part):
                return value
        return builder.insert(Form.method("expand", value, builder.insert(Form.method("size", part))), part)

    def _of_size(self, whole: fx.Node) -> fx.Node:
        """The tensor to ask for a size: what a tensor was before all writes, or what that was made in the size of."""
        first = self.sized.get(whole, whole)
        like = first.args[0] if first.target in _MAKERS_ALIKE and first.args else None
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
            if _is_by_value(graph_module, node):
                queue += node.all_input_nodes
        return False

    # -- what reads a part that lies in one piece ---------------------------------------------------

    @staticmethod
    def reads_by_value(graph_module: fx.GraphModule, node: fx.Node) -> bool:
        """Whether nobody who reads a value can tell how it lies in memory, as a sum of it in another order could."""
        return all(
            user.target in (torch.cat, torch.stack, "size") or _is_by_value(graph_module, user) for user in node.users
        )

    def piece_read(self, node: fx.Node) -> tuple[fx.Node, Any] | None:
        """The piece, and the index into it, that a node reads of a joined tensor; None where it reads of several."""
        whole, index = node.args
        if not isinstance(whole, fx.Node) or whole not in self.joined:
            return None
        known, items = self.joined[whole], _as_items(index)
        if any(isinstance(item, (list, fx.Node, Tensor)) for item in items):
            return None
        rank = len(whole.meta["shape"]) if "shape" in whole.meta else None
        dims = _dims(items, rank)
        if known.dim not in dims:
            return None
        at = dims.index(known.dim)
        bounds = _bounds(items[at], None)
        if bounds is None:
            return None
        start, stop = bounds
        for piece in known.pieces:
            if piece.between(start, stop) is None:
                continue
            if start < piece.start or (piece.stop is not None and (stop is None or stop > piece.stop)):
                return None
            shift = piece.offset - piece.start
            item = items[at]
            if isinstance(item, slice):
                last = None if stop is None else stop + shift
                ends = piece.is_whole and stop == piece.stop
                item = slice(start + shift or None, None if ends else last, item.step)
            else:
                item += shift
            changed = (*items[:at], item, *items[at + 1 :])
            return piece.source, changed if isinstance(index, tuple) else item
        return None


def is_all(index: Any) -> bool:
    """Whether an index takes all of a tensor."""
    return all(item is Ellipsis or _is_full(item) for item in _as_items(index))


def is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _is_advanced(graph_module: fx.GraphModule, item: Any) -> bool:
    return isinstance(item, (list, Tensor)) or (isinstance(item, fx.Node) and is_tensor(graph_module, item))


def _is_plain(graph_module: fx.GraphModule, item: Any) -> bool:
    if item is None or item is Ellipsis or (isinstance(item, int) and not isinstance(item, bool)):
        return True
    if isinstance(item, slice):
        ends = (item.start, item.stop, item.step)
        nodes = [end for end in ends if isinstance(end, fx.Node)]
        return all(end is None or isinstance(end, (int, fx.Node)) for end in ends) and not any(
            is_tensor(graph_module, node) for node in nodes
        )
    return isinstance(item, fx.Node)


def _holds_number(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    return not is_tensor(graph_module, node)


@dataclass(frozen=True)
class Place:
    """One place along a dim, which is worked out when the model runs and may be counted from the end."""

    at: fx.Node


def _as_range(item: Any) -> slice | Place:
    """What takes what an index takes, and keeps the dim."""
    if isinstance(item, slice):
        return item
    if isinstance(item, fx.Node):
        return Place(item)
    return slice(item, None if item == -1 else item + 1)


def _taken(builder: Builder, whole: fx.Node, dim: int, item: slice | Place) -> fx.Node:
    """The part of a tensor within bounds along a dim."""
    ranges = (item,) if isinstance(item, slice) else (slice(item.at, None), slice(None, 1))
    for one in ranges:
        whole = builder.insert(Form.function(operator.getitem, whole, along(dim, one)))
        builder.evaluated(whole, whole.all_input_nodes)
    return whole


def _bounds(item: Any, size: int | None) -> tuple[int, int | None] | None:
    """The first place and the one behind the last, counted from the start, as far as they are numbers.

    Without the `size` of the dim those counted from the end are none. A stop of None is the end.
    """
    if isinstance(item, int):
        item = slice(item, None if item == -1 else item + 1)
    if not isinstance(item, slice) or not _is_dense(item):
        return None
    start, stop = item.start or 0, item.stop
    if not isinstance(start, int) or not (stop is None or isinstance(stop, int)):
        return None
    if stop == sys.maxsize:
        stop = None
    if size is not None:
        start, stop, _ = slice(start, stop).indices(size)
    if start < 0 or (stop is not None and (stop < 0 or stop <= start)):
        return None
    return start, stop


def _are_counted_alike(item: slice) -> bool:
    """Whether a stop is never before its start, whatever the size is: both are numbers, counted from the same end."""
    start, stop = item.start or 0, item.stop
    return isinstance(start, int) and isinstance(stop, int) and start <= stop and (start < 0) == (stop < 0)


def _part(builder: Builder, whole: fx.Node, restricted: Sequence[tuple[int, slice | Place]]) -> fx.Node:
    """The part of a tensor within these bounds; nothing but its size is asked for."""
    part = whole
    for dim, item in restricted:
        part = _taken(builder, part, dim, item)
    return part


def cast(builder: Builder, value: fx.Node, whole: fx.Node) -> fx.Node:
    """The value in the type of the tensor it is written into. Types that are not known are taken for the same."""
    wanted, given = whole.meta.get("dtype"), value.meta.get("dtype")
    if wanted is not None and given is not None:
        if wanted is given:
            return value
        fresh = builder.insert(Form.method("to", value, wanted), value)
        fresh.meta["dtype"] = wanted
        return fresh
    graph_module = builder.graph_module
    if is_whole(graph_module, value) == is_whole(graph_module, whole):
        return value
    return builder.insert(Form.method("type_as", value, whole))


def _with_kept_dims(builder: Builder, value: fx.Node, items: Sequence[Any], dims: Sequence[int | None]) -> fx.Node:
    """The value in all dims of the tensor: those that numbers took are put in, those that None added are left out."""
    place = next((at for at, item in enumerate(items) if item is Ellipsis), len(items))
    at = 0
    for item in items[:place]:
        if item is None:
            value = builder.insert(Form.function(operator.getitem, value, along(at, 0)))
        else:
            if not isinstance(item, slice):
                value = builder.insert(Form.method("unsqueeze", value, at))
            at += 1
    at = -1
    for item in reversed(items[place + 1 :]):
        if item is None:
            value = builder.insert(Form.function(operator.getitem, value, along(at, 0)))
        else:
            if not isinstance(item, slice):
                value = builder.insert(Form.method("unsqueeze", value, at))
            at -= 1
    return value


def know_part(part: fx.Node, whole: fx.Node, dim: int, length: int | None) -> None:
    """Note the shape of a part of `length` along a dim."""
    if "shape" not in whole.meta or "shape" in part.meta or length is None:
        return
    shape = list(whole.meta["shape"])
    shape[dim] = length
    part.meta["shape"] = tuple(shape)
    if "dtype" in whole.meta:
        part.meta["dtype"] = whole.meta["dtype"]


# -- by tensors --------------------------------------------------------------------------------------


def _put(builder: Builder, whole: fx.Node, items: Sequence[Any], value: Any) -> Form:
    """A write to where a mask is set, or to places that tensors name."""
    graph_module = builder.graph_module
    if len(items) == 1 and _is_mask_alike(items[0], whole):
        if not isinstance(value, fx.Node):
            return Form.method("masked_fill", whole, items[0], value)
        if value.meta.get("shape") == ():
            return Form.method("masked_fill", whole, items[0], cast(builder, value, whole))
    if isinstance(value, fx.Node):
        value = cast(builder, value, whole)
    else:
        value = builder.constant(value, whole.meta.get("dtype"))
    indices: list[Any] = []
    for at, item in enumerate(items):
        if _is_advanced(graph_module, item):
            indices.append(_as_tensor(builder, item))
        elif _is_full(item):
            indices.append(None)
        elif item is Ellipsis and at == len(items) - 1:
            continue
        elif item is Ellipsis and "shape" in whole.meta and not any(is_truth(one) for one in items):
            indices += [None] * (len(whole.meta["shape"]) - len(items) + 1)
        else:
            raise Refusal("its index mixes tensors with numbers or parts of dims")
    return Form.function(torch.ops.aten.index_put, whole, indices, value)


def _is_mask_alike(item: Any, whole: fx.Node) -> bool:
    return is_truth(item) and "shape" in whole.meta and len(item.meta["shape"]) == len(whole.meta["shape"])


def _as_tensor(builder: Builder, item: Any) -> fx.Node:
    if isinstance(item, fx.Node):
        return item
    if not isinstance(item, Tensor) and not all(isinstance(place, int) for place in item):
        raise Refusal("its index is a list of more than numbers")
    tensor = item if isinstance(item, Tensor) else torch.tensor(item)
    return builder.held(tensor, "index")


# -- what is known of shapes -------------------------------------------------------------------------

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


def _is_by_value(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(submodule(graph_module, node), _LAYERS_BY_VALUE)
    return callee(graph_module, node) in _BY_VALUE


def _are_alike(graph_module: fx.GraphModule, value: fx.Node, part: fx.Node) -> bool:
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
            first = _as_items(node.args[1])[0]
            queue += [node.args[0]] if first is Ellipsis or (isinstance(first, slice) and _is_full(first)) else []
        elif _is_by_value(graph_module, node):
            operands = [one for one in node.all_input_nodes if len(one.meta.get("shape", ())) == rank]
            queue += operands if len(operands) == 1 else []
        elif (node.target is torch.cat and len(node.args) > 1 and node.args[1] != 0) or node.target in _MAKERS_ALIKE:
            queue += node.all_input_nodes[:1]
        elif node.target in _MAKERS or node.target == "expand":
            sizes = _sizes(node) if node.target in _MAKERS else node.args[1]
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
        sizes: Any = _sizes(node) if node.target in _MAKERS else node.args[1]
        return len(sizes) == rank and isinstance(sizes[at], int)
    if node.target in _MAKERS_ALIKE:
        return bool(node.args) and _is_fixed(graph_module, node.args[0], at, depth + 1)
    if node.target is torch.cat and isinstance(node.args[0], (list, tuple)):
        whole_dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        parts = node.args[0] if isinstance(whole_dim, int) and whole_dim % max(rank, 1) == at else node.args[0][:1]
        return all(_is_fixed(graph_module, part, at, depth + 1) for part in parts)
    if node.target is operator.getitem and isinstance(node.args[0], fx.Node):
        source, items = node.args[0], _as_items(node.args[1])
        dims = _dims(items, len(source.meta.get("shape", ())))
        if rank != len(source.meta.get("shape", ())) or not all(i is Ellipsis or isinstance(i, slice) for i in items):
            return False
        return _is_fixed(graph_module, source, at, depth + 1) and (
            at not in dims or _is_of_numbers(items[dims.index(at)])
        )
    if _is_by_value(graph_module, node):
        return any(
            _is_fixed(graph_module, one, at, depth + 1)
            for one in node.all_input_nodes
            if one.meta.get("shape") == node.meta.get("shape")
        )
    return False


def _is_of_numbers(item: Any) -> bool:
    return isinstance(item, slice) and not any(isinstance(end, fx.Node) for end in (item.start, item.stop, item.step))


# What makes a tensor of sizes, and of a tensor one of its size.
_MAKERS: frozenset[Any] = frozenset({torch.zeros, torch.ones, torch.full, torch.empty})
_MAKERS_ALIKE: frozenset[Any] = frozenset({torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like})


_FILLS: dict[Any, int] = {
    torch.zeros: 0, torch.empty: 0, torch.ones: 1, torch.zeros_like: 0, torch.empty_like: 0, torch.ones_like: 1
}  # fmt: skip


def _as_constant(builder: Builder, whole: fx.Node) -> fx.Node:
    """A tensor made to be filled, as one number that is seen in all its places: what is left of it can be int8."""
    dtype = whole.meta.get("dtype")
    if whole.target not in _FILLS or dtype is None or not dtype.is_floating_point:
        return whole
    source = whole.args[0] if whole.target in _MAKERS_ALIKE and whole.args else None
    sizes = builder.insert(Form.method("size", source)) if isinstance(source, fx.Node) else list(_sizes(whole))
    if not sizes:
        return whole
    return builder.insert(Form.method("expand", builder.constant(_FILLS[whole.target], dtype), sizes), whole)


def _sizes(node: fx.Node) -> tuple[Any, ...]:
    given = node.args if node.args else (node.kwargs.get("size", ()),)
    first = given[0]
    if isinstance(first, (tuple, list)):
        return tuple(first)
    return given if all(is_scalar(one) or isinstance(one, fx.Node) for one in given) else ()


MAKERS = _MAKERS | _MAKERS_ALIKE
