"""a + b  ->  quantize(dequantize(a) + dequantize(b)): the known slow solution."""

from __future__ import annotations

from torch import Tensor, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.modules import Cat, ScalarArithmetic, Stack, WrappedBinary, WrappedCat, WrappedUnary
from rewrites.passes._operators import operation


class WrapArithmetic(RewritePass):
    """`+ * @ torch.cat` on tensors run in float between a dequantize and a quantize of their own.

    What it does: each operation becomes a module that dequantizes its operands, computes in float and quantizes
    the result again.

    Why: this is how such models were made to run by hand. It is kept (`--arithmetic wrap`) so that
    its cost in latency can be shown next to arithmetic-to-functional, which replaces it.

    Leaves alone: what arithmetic-to-functional leaves alone.
    """

    name = "wrap-arithmetic"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            try:
                found = operation(editor.graph_module, node)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                editor.keep_float(node, str(refusal))
                continue
            if found is None:
                continue
            kind: type[nn.Module] = WrappedBinary
            if isinstance(found.module, (Cat, Stack)):
                kind = WrappedCat
            elif isinstance(found.module, ScalarArithmetic):
                kind = WrappedUnary
            editor.replace_with_module(
                node, kind(found.module), found.args, found.stem, "computed in float between dequantize and quantize"
            )

    @staticmethod
    def example() -> nn.Module:
        class Sum(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x + x.mean((2, 3), keepdim=True)

        return Sum()
