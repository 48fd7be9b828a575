"""x @ self.weight.t(), torch.mm(x, W), torch.addmm(b, x, W)  ->  F.linear(x, W.t(), b)."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.passes.fold_constants import constant_nodes
from rewrites.values import attribute, callee, is_tensor

_PRODUCTS: frozenset[Any] = frozenset(
    {operator.matmul, torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__}
)
_SUMS: frozenset[Any] = frozenset({torch.addmm, Tensor.addmm})
_TRANSPOSES: frozenset[Any] = frozenset({torch.t, Tensor.t, torch.transpose, Tensor.transpose, torch.swapaxes})


def _operands(graph_module: fx.GraphModule, node: fx.Node) -> tuple[Any, Any, Any] | None:
    """The tensor a product takes, the matrix behind it, and what is added; None for any other call."""
    target = callee(graph_module, node)
    if target in _PRODUCTS:
        names = ("input", "other" if "mat2" not in node.kwargs else "mat2")
        values = [*node.args, *(node.kwargs[name] for name in names if name in node.kwargs)]
        return (values[0], values[1], None) if len(values) == 2 and "out" not in node.kwargs else None
    if target in _SUMS and len(node.args) == 3 and not node.kwargs:
        added, value, matrix = node.args
        return value, matrix, added
    return None


def _shape(graph_module: fx.GraphModule, node: fx.Node) -> tuple[int, ...] | None:
    if node.op == "get_attr":
        return tuple(attribute(graph_module, str(node.target)).shape)
    return node.meta.get("shape")


def _type(graph_module: fx.GraphModule, node: fx.Node) -> Any:
    return attribute(graph_module, str(node.target)).dtype if node.op == "get_attr" else node.meta.get("dtype")


def _turned(graph_module: fx.GraphModule, matrix: fx.Node) -> fx.Node | None:
    """What a matrix is the transpose of, where a node transposes it."""
    target = callee(graph_module, matrix)
    dims = matrix.args[1:]
    is_property = target is getattr and matrix.args[1] in ("T", "mT")
    is_transpose = target in _TRANSPOSES and not matrix.kwargs and sorted(dims) in ([], [0, 1], [-2, -1])
    given = matrix.args[0] if (is_property or is_transpose) and matrix.args else None
    return given if isinstance(given, fx.Node) and len(_shape(graph_module, given) or ()) == 2 else None


class MatmulToLinear(RewritePass):
    """A product with a constant matrix becomes a linear function.

    What it does: `x @ W`, `torch.matmul`, `torch.mm` and `torch.addmm` with a matrix of parameters, buffers or of what
    is worked out of these alone become `F.linear` with the transposed matrix.

    Why: a linear layer's weight is packed once, in int8 and a scale a row; as one of two operands it would be a value
    like the other, and its product is computed in float.

    Leaves alone: a constant on the left, one of more than two dimensions, and an `addmm` that scales. Declared
    tolerance: 1e-5 of the output's largest magnitude, because a product of other strides may add up in another order.
    """

    name = "matmul-to-linear"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        graph_module, constant = editor.graph_module, set[fx.Node]()
        for node in editor.nodes():
            operands = _operands(graph_module, node)
            if operands is None:
                continue
            value, matrix, added = operands
            if not isinstance(value, fx.Node) or not isinstance(matrix, fx.Node):
                continue
            constant = constant or constant_nodes(graph_module)
            if matrix not in constant or value in constant or not is_tensor(graph_module, value):
                continue
            shape = _shape(graph_module, matrix)
            if _type(graph_module, matrix) is not torch.float32:
                editor.skip(node, "its matrix is not known to be float32, of which int8 layers are made")
                continue
            if shape is None or len(shape) != 2:
                editor.skip(node, "its matrix does not have two dimensions, as the weight of a linear layer has")
                continue
            if added is not None and (added not in constant or _shape(graph_module, added) != shape[1:]):
                editor.skip(node, "what is added is not one constant a column, as the bias of a linear layer is")
                continue
            reason = "a linear layer's weight is packed in int8"
            weight = _turned(graph_module, matrix)
            if weight is None:
                weight = editor.insert_call(node, "call_method", "t", (matrix,), f"{matrix.name}_t", reason)
                weight.meta["shape"] = shape[::-1]
            editor.retarget(node, "call_function", F.linear, (value, weight, added), {}, reason)
            if not matrix.users and matrix.op != "get_attr":
                editor.erase(matrix, "the linear function takes what it was the transpose of")

    @staticmethod
    def example() -> nn.Module:
        class Product(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.randn(8, 8))

            def forward(self, x: Tensor) -> Tensor:
                return x @ self.weight

        return Product()
