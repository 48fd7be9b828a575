"""What an index takes of a tensor: which dims, and of each the places from where to where."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from rewrites.values import is_tensor

_FULL = slice(None)


def along(dim: int, item: Any) -> tuple[Any, ...]:
    """The index that takes `item` of one dim, and all of the others."""
    return (_FULL,) * dim + (item,) if dim >= 0 else (Ellipsis, item) + (_FULL,) * (-dim - 1)


def is_full(item: Any) -> bool:
    return isinstance(item, slice) and item.start in (None, 0) and item.stop in (None, sys.maxsize) and is_dense(item)


def is_dense(item: slice) -> bool:
    return item.step in (None, 1)


def as_items(index: Any) -> tuple[Any, ...]:
    return tuple(index) if isinstance(index, tuple) else (index,)


def dims_of(items: Sequence[Any], rank: int | None) -> list[int | None]:
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


def is_all(index: Any) -> bool:
    """Whether an index takes all of a tensor."""
    return all(item is Ellipsis or is_full(item) for item in as_items(index))


def is_advanced(graph_module: fx.GraphModule, item: Any) -> bool:
    return isinstance(item, (list, Tensor)) or (isinstance(item, fx.Node) and is_tensor(graph_module, item))


def is_plain(graph_module: fx.GraphModule, item: Any) -> bool:
    if item is None or item is Ellipsis or (isinstance(item, int) and not isinstance(item, bool)):
        return True
    if isinstance(item, slice):
        ends = (item.start, item.stop, item.step)
        nodes = [end for end in ends if isinstance(end, fx.Node)]
        return all(end is None or isinstance(end, (int, fx.Node)) for end in ends) and not any(
            is_tensor(graph_module, node) for node in nodes
        )
    return isinstance(item, fx.Node)


@dataclass(frozen=True)
class Place:
    """One place along a dim, which is worked out when the model runs and may be counted from the end."""

    at: fx.Node


def as_range(item: Any) -> slice | Place:
    """What takes what an index takes, and keeps the dim."""
    if isinstance(item, slice):
        return item
    if isinstance(item, fx.Node):
        return Place(item)
    return slice(item, None if item == -1 else item + 1)


def bounds_of(item: Any, size: int | None) -> tuple[int, int | None] | None:
    """The first place and the one behind the last, counted from the start, as far as they are numbers.

    Without the `size` of the dim those counted from the end are none. A stop of None is the end.
    """
    if isinstance(item, int):
        item = slice(item, None if item == -1 else item + 1)
    if not isinstance(item, slice) or not is_dense(item):
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


def are_counted_alike(item: slice) -> bool:
    """Whether a stop is never before its start, whatever the size is: both are numbers, counted from the same end."""
    start, stop = item.start or 0, item.stop
    return isinstance(start, int) and isinstance(stop, int) and start <= stop and (start < 0) == (stop < 0)


def are_disjoint(one: Any, other: Any) -> bool:
    """Whether two indices take different values of a tensor, by numbers in one and the same place."""
    first, second = as_items(one), as_items(other)
    if None in first or None in second:
        return False
    for a, b in zip(first, second, strict=False):
        if a is Ellipsis or b is Ellipsis:
            return False
        bounds = [bounds_of(item, None) for item in (a, b)]
        if None not in bounds:
            (start, stop), (begin, end) = bounds  # type: ignore[misc]
            if (stop is not None and stop <= begin) or (end is not None and end <= start):
                return True
    return False
