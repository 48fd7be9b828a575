"""SiLU  ->  x * sigmoid(x); MaxPool2d(1, 2)  ->  x[:, :, ::2, ::2]; torch.addcmul(a, b, c)  ->  a + b * c."""

from __future__ import annotations

import operator

from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.memory import changes_in_place
from rewrites.modules import Mul
from rewrites.passes._written_out import by_reciprocal, neutral, write_out
from rewrites.values import callee, submodule


def _single_value_pool(module: nn.Module | None) -> tuple[int, int] | None:
    """The stride of a max pool over one value at a time; None for any other module."""
    if type(module) is not nn.MaxPool2d or module.return_indices or module.padding not in (0, (0, 0)):
        return None
    if module.kernel_size not in (1, (1, 1)):
        return None
    return module.stride if isinstance(module.stride, tuple) else (module.stride, module.stride)


class Decompose(RewritePass):
    """SiLU becomes x * sigmoid(x), a max pool over single values a slice, addcmul a + b * c: what has int8 kernels.

    What it does: each `nn.SiLU` (and, after functional-to-module, each `F.silu`) becomes a sigmoid and
    an observed multiplication. `MaxPool2d(1, 2)`, by which feature pyramids make their last level, becomes
    `x[:, :, ::2, ::2]`. `alpha=`, `torch.addcmul`, `torch.addcdiv` by a constant, `torch.lerp` and
    `torch.stack([a, b], -1).sum(-1)` are written out as operators, a division by parameters or constants as the product
    with their reciprocals, and `0 + x` and `1 * x` (where Python's `sum` begins) as x.

    Why: the engine has no quantized SiLU and refuses 1x1 pooling; left whole, each would be a float island with a
    dequantize before and a quantize behind it. So it is with calls of torch that are several operators in one.

    Leaves alone: everything else without a kernel. Declared tolerance: 1e-5 of the output's largest
    magnitude, because x * sigmoid(x), like the other forms, rounds differently from the one float kernel.
    """

    name = "decompose"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            self._run_on(editor, node)

    def _run_on(self, editor: Editor, node: fx.Node) -> None:
        if (step := _single_value_pool(submodule(editor.graph_module, node))) is not None:
            index = (slice(None), slice(None), *(slice(None, None, side) for side in step))
            reason = "the engine refuses 1x1 pooling, which takes every second value or so"
            editor.retarget(node, "call_function", operator.getitem, (node.all_input_nodes[0], index), {}, reason)
            return
        if (value := neutral(editor.graph_module, node)) is not None:
            editor.remove(node, value, "it gives what it is given")
            return
        try:
            write_out(editor, node)
            by_reciprocal(editor, node)
        except Refusal as refusal:
            editor.skip(node, str(refusal))
        if callee(editor.graph_module, node) is not nn.SiLU:
            return
        if changes_in_place(editor.graph_module, node):
            editor.skip(node, "it changes its input in place; the product would not")
            return
        value = node.all_input_nodes[0]
        sigmoid = editor.insert_module(
            value, nn.Sigmoid(), "sigmoid", (), "SiLU has no int8 kernel; sigmoid has one", written_at=node
        )
        editor.replace_with_module(
            node, Mul(), (value, sigmoid), "silu", "SiLU has no int8 kernel; the product has one"
        )

    @staticmethod
    def example() -> nn.Module:
        class Swish(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.act = nn.Conv2d(8, 8, 1), nn.SiLU()

            def forward(self, x: Tensor) -> Tensor:
                return self.act(self.conv(x))

        return Swish()
