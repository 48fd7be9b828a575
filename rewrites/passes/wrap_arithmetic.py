"""a + b  ->  quantize(dequantize(a) + dequantize(b)): the known slow solution."""

from __future__ import annotations

from torch import Tensor, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.modules import Cat, Stack, WrappedBinary, WrappedCat, WrappedUnary
from rewrites.passes._operators import Operation, operation


def _wrapped(found: Operation) -> nn.Module:
    if isinstance(found.module, (Cat, Stack)):
        return WrappedCat(found.module)
    return (WrappedUnary if len(found.args) == 1 else WrappedBinary)(found.module)


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
            reason = "computed in float between dequantize and quantize"
            args = found.arguments(editor, node, reason, _wrapped)
            editor.replace_with_module(node, _wrapped(found), args, found.stem, reason)

    @staticmethod
    def example() -> nn.Module:
        class Sum(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x + x.mean((2, 3), keepdim=True)

        return Sum()
