"""a + b, a * b, torch.cat, a @ b  ->  FloatFunctional; add followed by ReLU  ->  one add_relu."""

from __future__ import annotations

from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.memory import changes_between, changes_in_place
from rewrites.modules import Add, AddReLU
from rewrites.passes._operators import ARITHMETIC, operation
from rewrites.readers import sole_reader
from rewrites.values import callee


def _relu_behind(editor: Editor, node: fx.Node) -> fx.Node | None:
    """The ReLU that is the only reader of `node` and can take its operands over."""
    relu = sole_reader(node)
    if relu is None or callee(editor.graph_module, relu) is not nn.ReLU or changes_in_place(editor.graph_module, relu):
        return None
    if changes_between(editor.graph_module, node, relu):
        editor.skip(relu, f"something is changed in place between {node.name} and it, so the two stay apart")
        return None
    return relu


class ArithmeticToFunctional(RewritePass):
    """`+ * @ torch.cat` on tensors become FloatFunctional operations an observer can watch.

    What it does: `a + b`, `torch.add(a, b)`, `a.add(b)`, a constant on either side, broadcast products, `a - 2`,
    `a / 3`, `torch.cat`, `torch.stack` and `a @ b` become modules that hold a FloatFunctional. `a - b` is the addition
    of `-b`, and `-b` a product with -1, of which the int8 kernel loses nothing. An addition read only by a ReLU takes
    it in and becomes `add_relu`.

    Why: the plain operators have no quantized kernel ("Could not run aten::add.out with arguments from
    the QuantizedCPU backend"); the observed form is given a range and becomes `quantized::add`.

    Leaves alone: arithmetic on shapes; `alpha=`, which decompose writes out; a tensor divided by a tensor. They run in
    float, with the reason. A constant divided by a tensor becomes a module that runs in float, too, unless
    emulated-functions finds it between int8 operations.
    """

    name = "arithmetic-to-functional"
    operators = ARITHMETIC

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
            relu = _relu_behind(editor, node) if isinstance(found.module, Add) else None
            reason = "the plain operator has no quantized kernel"
            args = found.arguments(editor, node, reason, lambda operation: operation.module)
            if relu is not None:
                editor.replace_with_module(relu, AddReLU(), args, "add_relu", "add and relu run as one int8 operation")
                editor.merge(node, relu, "its sum is taken inside add_relu")
            else:
                editor.replace_with_module(node, found.module, args, found.stem, reason)

    @staticmethod
    def example() -> nn.Module:
        class Gate(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                scale = x.mean((2, 3), keepdim=True)
                return scale * x + x

        return Gate()
