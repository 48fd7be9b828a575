"""Who reads the numbers of a value, and who asks for its shape, rank, type, device or size alone.

What only asks is no reader: a convolution whose output is asked for its height is fused with what is behind it, and
asked again, the fused layer gives the same answer. Everything here only looks at a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.ao.quantization import DeQuantStub, QuantStub

from rewrites.values import submodule

# Attributes of a tensor that its numbers have no part in.
_ATTRIBUTES = frozenset({
    "shape", "ndim", "dtype", "device", "layout", "is_cuda", "requires_grad", "is_quantized", "itemsize", "nbytes",
})  # fmt: skip

# Calls that take of their second operand the shape and nothing else, not even its type.
_SHAPED_ALIKE = (Tensor.reshape_as, Tensor.view_as, Tensor.expand_as)

# The calls that ask, and which of their operands they ask; all others of the operands are read.
_ASKED: dict[Callable[..., Any], tuple[int | str, ...]] = {
    **dict.fromkeys(
        (
            len, isinstance, torch.numel, torch.is_tensor, torch.is_floating_point, torch.is_complex,
            Tensor.size, Tensor.dim, Tensor.ndimension, Tensor.numel, Tensor.nelement, Tensor.stride,
            Tensor.is_contiguous, Tensor.is_floating_point, Tensor.is_complex, Tensor.element_size, Tensor.get_device,
            torch.zeros_like, torch.ones_like, torch.empty_like, torch.full_like, torch.rand_like, torch.randn_like,
            Tensor.new_zeros, Tensor.new_ones, Tensor.new_empty, Tensor.new_full, Tensor.new_tensor,
        ),
        (0, "input", "self"),
    ),
    **dict.fromkeys((*_SHAPED_ALIKE, Tensor.type_as, Tensor.to), (1, "other")),
}  # fmt: skip


def reads_numbers(user: fx.Node, value: fx.Node) -> bool:
    """Whether what `user` gives or does depends on the numbers in `value`, which is one of its operands."""
    if user.op == "call_function" and user.target is getattr:
        return user.args[1] not in _ATTRIBUTES
    if _is_stub(user):  # what it converts may be asked for its shape and type
        return any(reads_numbers(reader, user) for reader in user.users)
    asked = _ASKED.get(_function(user))
    if asked is None:
        return True
    operands = (*enumerate(user.args), *user.kwargs.items())
    read = [operand for place, operand in operands if place not in asked]
    found = list[fx.Node]()
    fx.node.map_arg(read, found.append)
    return value in found


def asks_shape_alone(user: fx.Node, value: fx.Node) -> bool:
    """Whether `user` takes the shape of `value` and nothing else of it: it may be quantized or not."""
    return _function(user) in _SHAPED_ALIKE and not reads_numbers(user, value)


def _function(user: fx.Node) -> Any:
    if user.op == "call_method":
        return getattr(Tensor, str(user.target), None)
    return user.target if user.op == "call_function" else None


def _is_stub(user: fx.Node) -> bool:
    root = user.graph.owning_module
    return root is not None and isinstance(submodule(root, user), (QuantStub, DeQuantStub))


def value_readers(value: fx.Node) -> list[fx.Node]:
    """The users of `value` that read its numbers, in the order in which they came to read it."""
    return [user for user in value.users if reads_numbers(user, value)]


def sole_reader(value: fx.Node) -> fx.Node | None:
    """The only node that reads the numbers of `value`, or None when there are several or none."""
    readers = value_readers(value)
    return readers[0] if len(readers) == 1 else None
