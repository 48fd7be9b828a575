"""Of which pieces a joined tensor is put together, and which of them an index takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from rewrites.passes._writes.indices import as_items, bounds_of, dims_of


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

    def piece_read(self, whole: fx.Node, index: Any) -> tuple[fx.Node, Any] | None:
        """The piece of `whole`, and the index into it, that `index` takes; None where it takes of several."""
        items = as_items(index)
        if any(isinstance(item, (list, fx.Node, Tensor)) for item in items):
            return None
        dims = dims_of(items, len(whole.meta["shape"]) if "shape" in whole.meta else None)
        if self.dim not in dims:
            return None
        at = dims.index(self.dim)
        bounds = bounds_of(items[at], None)
        if bounds is None:
            return None
        start, stop = bounds
        for piece in self.pieces:
            if piece.between(start, stop) is None:
                continue
            if start < piece.start or (piece.stop is not None and (stop is None or stop > piece.stop)):
                return None
            changed = (*items[:at], _within(piece, items[at], start, stop), *items[at + 1 :])
            return piece.source, changed if isinstance(index, tuple) else changed[at]
        return None


def _within(piece: Piece, item: Any, start: int, stop: int | None) -> Any:
    """What takes of the piece's source what `item`, which is from `start` to `stop`, takes of the joined tensor."""
    shift = piece.offset - piece.start
    if not isinstance(item, slice):
        return item + shift
    ends = stop is None or (piece.is_whole and stop == piece.stop)
    return slice(start + shift or None, None if ends else stop + shift, item.step)  # type: ignore[operator]
