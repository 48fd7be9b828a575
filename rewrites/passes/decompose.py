"""SiLU  ->  x * sigmoid(x)."""

from __future__ import annotations

from torch import Tensor, nn

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.memory import changes_in_place
from rewrites.modules import Mul
from rewrites.values import callee


class Decompose(RewritePass):
    """SiLU becomes x * sigmoid(x): two operations that both have an int8 kernel.

    What it does: each `nn.SiLU` (and, after functional-to-module, each `F.silu`) becomes a sigmoid and
    an observed multiplication.

    Why: the engine has no quantized SiLU; left whole, each one would be a float island with a
    dequantize before and a quantize behind it.

    Leaves alone: everything else without a kernel. Declared tolerance: 1e-5 of the output's largest
    magnitude, because x * sigmoid(x) rounds differently from the fused float kernel.
    """

    name = "decompose"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if callee(editor.graph_module, node) is not nn.SiLU:
                continue
            if changes_in_place(editor.graph_module, node):
                editor.skip(node, "it changes its input in place; the product would not")
                continue
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
