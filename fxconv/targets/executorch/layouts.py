"""The order of values in memory that the delegate's operations are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_orders() -> Iterator[None]:
    """While this lasts, a softmax is given its values in the order of their sizes.

    It goes along the last dimension in memory, which behind a convolution is the channels; ExecuTorch's pass lets it
    read values in any order.
    """
    from executorch.backends.xnnpack._passes.channels_last_tagged_reshape_pass import ChannelsLastTaggedReshapePass
    from executorch.exir.dialects._ops import ops

    usual = ChannelsLastTaggedReshapePass.memory_sensitive_ops_nchw
    ChannelsLastTaggedReshapePass.memory_sensitive_ops_nchw = {*usual, ops.edge.aten._softmax.default}
    try:
        yield
    finally:
        ChannelsLastTaggedReshapePass.memory_sensitive_ops_nchw = usual
