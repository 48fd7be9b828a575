"""The sizes that a delegate's program begins with: the least that a free one may be, not the greatest.

XNNPACK plans its memory at the first call, and anew when a tensor is larger than any before. Of its averages in int8 it
forgets the memory in which they add up (`reshape_reduce_operator` in its static-reduce.c): ExecuTorch writes the
greatest sizes into the file, so that no tensor is ever larger, and a call of more images than the first one's writes
beyond that memory. Where a file begins with the least sizes, the average itself grows, and all is planned anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def least_sizes() -> Iterator[None]:
    """While this lasts, ExecuTorch writes a size of a delegate's tensor that is free as 1."""
    from executorch.backends.xnnpack.operators import node_visitor

    usual = node_visitor.get_shape
    node_visitor.get_shape = lambda node: [size if isinstance(size, int) else 1 for size in node.meta["val"].shape]
    try:
        yield
    finally:
        node_visitor.get_shape = usual
