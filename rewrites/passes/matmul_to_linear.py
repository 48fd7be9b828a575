"""x @ self.weight.t(), torch.addmm(b, x, W), torch.einsum("bchw,oc->bohw", x, W)  ->  F.linear, F.conv2d."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.passes.fold_constants import constant_nodes
from rewrites.values import attribute, callee

_PRODUCTS: frozenset[Any] = frozenset(
    {operator.matmul, torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__}
)
_SUMS: frozenset[Any] = frozenset({torch.addmm, Tensor.addmm})
_TRANSPOSES: frozenset[Any] = frozenset({torch.t, Tensor.t, torch.transpose, Tensor.transpose, torch.swapaxes})


_REASON = "a linear layer's weight is packed in int8"
_POINTWISE: dict[int, Any] = {3: torch.conv1d, 4: torch.conv2d, 5: torch.conv3d}


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
    dims: Any = matrix.args[1:]
    is_property = target is getattr and matrix.args[1] in ("T", "mT")
    is_transpose = target in _TRANSPOSES and not matrix.kwargs and sorted(dims) in ([], [0, 1], [-2, -1])
    given = matrix.args[0] if (is_property or is_transpose) and matrix.args else None
    return given if isinstance(given, fx.Node) and len(_shape(graph_module, given) or ()) == 2 else None


@dataclass(frozen=True)
class _Contraction:
    """An einsum of a value and a matrix: the value's dimension it sums over, and whether the matrix is `[out, in]`."""

    value: fx.Node
    matrix: fx.Node
    dim: int
    rank: int
    is_turned: bool


def _contraction(node: fx.Node, constant: set[fx.Node]) -> _Contraction | None:
    """What an einsum sums over, when it puts one dimension of a constant matrix where it takes the other, or None."""
    if node.target is not torch.einsum or len(node.args) != 3 or not isinstance(node.args[0], str):
        return None
    equation, *operands = node.args
    given, arrow, result = str(equation).replace(" ", "").replace("...", ".").partition("->")
    terms = given.split(",")
    if operands[0] in constant:
        terms, operands = terms[::-1], operands[::-1]
    value, matrix = operands
    if not arrow or len(terms) != 2 or not isinstance(value, fx.Node) or not isinstance(matrix, fx.Node):
        return None
    first, second = terms
    if len(second) != 2 or len({*first}) != len(first) or len({*second}) != 2 or "." in second:
        return None
    for summed, made, is_turned in ((second[1], second[0], True), (second[0], second[1], False)):
        if summed in first and made not in first and first.replace(summed, made) == result:
            return _Contraction(value, matrix, first.index(summed), len(first), is_turned)
    return None


class MatmulToLinear(RewritePass):
    """A product with a constant matrix becomes a linear function.

    What it does: `x @ W`, `torch.matmul`, `torch.mm` and `torch.addmm` with a matrix of parameters, buffers or of what
    is worked out of these alone become `F.linear` with the transposed matrix; so does a `torch.einsum` that sums over
    the last dimension. One that sums over the channels of an image, `"bchw,oc->bohw"`, becomes a convolution with a
    kernel of one pixel.

    Why: a linear layer's weight is packed once, in int8 and a scale a row; as one of two operands it would be a value
    like the other, and its product is computed in float.

    Leaves alone: a constant on the left, one of more than two dimensions, an `addmm` that scales, and any other einsum.
    Declared tolerance: 1e-5 of the output's largest magnitude, because another kernel may add up in another order.
    """

    name = "matmul-to-linear"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        graph_module, constant = editor.graph_module, set[fx.Node]()
        for node in editor.nodes():
            if callee(graph_module, node) not in (*_PRODUCTS, *_SUMS, torch.einsum):
                continue
            constant = constant or constant_nodes(graph_module)
            contraction = _contraction(node, constant)
            operands = _operands(graph_module, node)
            if contraction is not None:
                operands = contraction.value, contraction.matrix, None
            if operands is None:
                continue
            value, matrix, added = operands
            if matrix not in constant or value in constant or not isinstance(value, fx.Node):
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
            if contraction is not None:
                _write_einsum(editor, node, contraction, shape)
                continue
            weight = _turned(graph_module, matrix)
            if weight is None:
                weight = editor.insert_call(node, "call_method", "t", (matrix,), f"{matrix.name}_t", _REASON)
                weight.meta["shape"] = shape[::-1]
            editor.retarget(node, "call_function", F.linear, (value, weight, added), {}, _REASON)
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


def _write_einsum(editor: Editor, node: fx.Node, found: _Contraction, shape: tuple[int, ...]) -> None:
    """Let an einsum call the linear function or the convolution that it is."""
    is_last = found.dim == found.rank - 1
    is_whole = "..." not in str(node.args[0])  # else the letters do not say how many dimensions there are
    convolution = _POINTWISE.get(found.rank) if found.dim == 1 and is_whole else None
    if not is_last and convolution is None:
        editor.skip(node, "it sums over a dimension that is neither the last nor the channels of an image")
        return
    weight = found.matrix
    if not found.is_turned:
        weight = editor.insert_call(node, "call_method", "t", (weight,), f"{weight.name}_t", _REASON)
        weight.meta["shape"] = shape = shape[::-1]
    if is_last:
        editor.retarget(node, "call_function", F.linear, (found.value, weight), {}, _REASON)
        return
    ones = (1,) * (found.rank - 2)
    weight = editor.insert_call(
        node, "call_method", "reshape", (weight, *shape, *ones), f"{weight.name}_kernel", _REASON
    )
    weight.meta["shape"] = (*shape, *ones)
    editor.retarget(node, "call_function", convolution, (found.value, weight), {}, _REASON)
