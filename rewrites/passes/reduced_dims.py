"""x.mean((2, 3, 4))  ->  x.mean((2, 3, 4), True).squeeze(4).squeeze(3).squeeze(2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.values import callee

_MEANS: frozenset[Callable[..., Any]] = frozenset({torch.mean, Tensor.mean})
# Of an image's height and width the mean is a kernel of its own, which takes any size.
_OF_IMAGES = ([2, 3], [-2, -1])


def _bound(
    input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None, out: Any = None, axis: Any = None
) -> tuple[Any, Any, bool, bool]:
    """The input, the dims, whether they are kept, and whether the call says more than that."""
    return input, dim if axis is None else axis, keepdim, dtype is not None or out is not None


def _arguments(node: fx.Node) -> tuple[Any, Any, bool, bool]:
    args: tuple[Any, ...] = node.args
    kwargs: dict[str, Any] = node.kwargs
    return _bound(*args, **kwargs)


def _dims(node: fx.Node) -> list[int]:
    """The dims to drop one after the other, each by its place among those left; empty when the mean is fine."""
    _, dim, keeps, says_more = _arguments(node)
    if keeps is True or not isinstance(dim, (tuple, list)) or len(dim) < 2:
        return []
    if keeps is not False or says_more or not all(isinstance(one, int) for one in dim):
        raise Refusal("its settings are computed when the model runs, or not those of a mean alone")
    dims = sorted(dim)
    is_image = dims in _OF_IMAGES and len(node.meta.get("shape", (0, 0))) == 2
    if is_image:
        return []
    if dims[0] < 0 <= dims[-1]:
        raise Refusal("its dims are counted from both ends")
    return dims if dims[0] < 0 else dims[::-1]


class ReducedDims(RewritePass):
    """A mean over several dims keeps them, and they are dropped behind it.

    What it does: `x.mean((2, 3, 4))` becomes `x.mean((2, 3, 4), True)`, and a `squeeze` a dim behind it. The values are
    the same bits.

    Why: where all the dims are of size 1, the quantized mean gives its result the memory layout of its input, which a
    result of fewer dims cannot have, and stops ("required rank 5 tensor to use channels_last_3d format").

    Leaves alone: a mean over one dim, over an image's height and width, or over dims counted from both ends.
    """

    name = "reduced-dims"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if node.op == "call_module" or callee(editor.graph_module, node) not in _MEANS:
                continue
            try:
                dims = _dims(node)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            if not dims:
                continue
            value, dim, _, _ = _arguments(node)
            reason = "the quantized mean stops where it has to drop dims of size 1"
            editor.retarget(node, node.op, node.target, (value, dim, True), {}, reason)
            dropped, users, shape = node, list(node.users), node.meta.pop("shape", None)
            for one in dims:
                dropped = editor.insert_before(dropped.next, "squeeze", (dropped, one), "", reason, written_at=node)
            for user in users:
                user.replace_input_with(node, dropped)
            if shape is not None:
                dropped.meta["shape"] = shape

    @staticmethod
    def example() -> nn.Module:
        class Pooled(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.unsqueeze(2).mean((2, 3, 4))

        return Pooled()
