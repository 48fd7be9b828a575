"""F.pad(relu(x), ..., value=-inf) before a max pool  ->  F.pad(relu(x), ..., value=0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.intervals import interval
from rewrites.values import callee, is_scalar, submodule

_LAYERS: dict[type, type[nn.Module]] = {
    nn.ConstantPad1d: nn.ZeroPad1d,
    nn.ConstantPad2d: nn.ZeroPad2d,
    nn.ConstantPad3d: nn.ZeroPad3d,
}
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


def _padding(graph_module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, Any, Any] | None:
    """What a node pads, by how much, and with which number; None when it pads with no number."""
    module = submodule(graph_module, node)
    if type(module) in _LAYERS:
        assert module is not None
        return node.all_input_nodes[0], module.padding, module.value
    if callee(graph_module, node) is not F.pad:
        return None
    arguments = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)) | dict(node.kwargs)
    value = arguments.get("input")
    if arguments.get("mode", "constant") != "constant" or not isinstance(value, fx.Node):
        return None
    return value, arguments.get("pad"), arguments.get("value")


def _sides(number: Any, count: int) -> list[int]:
    return list(number) if isinstance(number, (tuple, list)) else [number] * count


def _check_windows(pool: nn.Module, pads: Sequence[int]) -> None:
    """Refuses when a window of `pool` may lie in the padding alone. `pads` are listed from the last dimension on."""
    if pool.return_indices:
        raise Refusal("the max pool behind it gives indices, which a 0 could move")
    if type(pool) not in _POOLS or not isinstance(pool, _POOLS):
        raise Refusal("what reads it is no max pool")
    count = _POOLS.index(type(pool)) + 1
    kernels, own = _sides(pool.kernel_size, count), _sides(pool.padding, count)
    dilations = _sides(pool.dilation, count)
    if len(pads) > 2 * count and any(pads[2 * count :]):
        raise Refusal("it pads along more than the max pool behind it looks at")
    for dim in range(min(count, len(pads) // 2)):
        before, after = pads[2 * dim], pads[2 * dim + 1]
        kernel, side = kernels[count - 1 - dim], own[count - 1 - dim]
        if dilations[count - 1 - dim] != 1 and (before > 0 or after > 0):
            raise Refusal("the windows of the max pool behind it have gaps, in which all of its values may lie")
        if max(before, after) + side >= kernel or (pool.ceil_mode and after > 0):
            raise Refusal("a window of the max pool behind it may lie in the padding alone")


class PaddedMaxPools(RewritePass):
    """A pad with minus infinity between a ReLU and a max pool is one with zeros.

    What it does: where what is padded is known not to be negative, all readers are max pools, and none of their windows
    lies in the padding alone, `value=` becomes 0: the largest value of each window is the same.

    Why: a quantized tensor holds no infinity, and a number far below all others would take the whole of its range. Zero
    is in every range. TensorFlow's "same" padding of a max pool is written so.

    Leaves alone: values that may be negative, windows that may hold no value of the image, sizes of the padding that
    are computed when the model runs.
    """

    name = "padded-max-pools"

    def run(self, editor: Editor) -> None:
        graph_module = editor.graph_module
        for node in editor.nodes():
            found = _padding(graph_module, node)
            if found is None or not is_scalar(found[2]) or found[2] >= 0:
                continue
            value, pads, _ = found
            try:
                self._check(graph_module, node, value, pads)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            reason = "what is padded is not negative, so that the largest of each window is the same"
            module = submodule(graph_module, node)
            if module is None:
                editor.retarget(node, "call_function", F.pad, (value, pads), {}, reason)
            else:
                editor.replace_with_module(node, _LAYERS[type(module)](pads), (value,), "pad", reason)

    @staticmethod
    def _check(graph_module: fx.GraphModule, node: fx.Node, value: fx.Node, pads: Any) -> None:
        if interval(graph_module, value)[0] < 0:
            raise Refusal("what it pads may be negative, and the largest of a window below 0")
        if not isinstance(pads, (tuple, list)) or not all(type(one) is int for one in pads):
            raise Refusal("how much it pads is computed when the model runs")
        for user in node.users:
            pool = submodule(graph_module, user)
            if not isinstance(pool, _POOLS):
                raise Refusal("what reads it is no max pool")
            _check_windows(pool, pads)

    @staticmethod
    def example() -> nn.Module:
        class Same(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.act, self.pool = nn.Conv2d(8, 8, 1), nn.ReLU(), nn.MaxPool2d(3, 2)

            def forward(self, x: Tensor) -> Tensor:
                return self.pool(F.pad(self.act(self.conv(x)), (0, 1, 0, 1), value=float("-inf")))

        return Same()
