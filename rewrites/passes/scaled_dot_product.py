"""F.scaled_dot_product_attention(q, k, v)  ->  q * scale @ k.transpose, softmax, @ v."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.values import constant_tensor, is_scalar, is_truth, module_scope

_REASON = "the attention is written out, so that each of its operations can be ruled on"


def _settings(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: Any = 0.0, is_causal: Any = False, *,
    scale: Any = None, enable_gqa: Any = False,
) -> dict[str, Any]:  # fmt: skip
    """The arguments by name, bound as the function's own signature binds them."""
    return locals()


def _decide(graph_module: fx.GraphModule, node: fx.Node) -> dict[str, Any]:
    """The settings of a call that can be written out. Raises `Refusal` for one that cannot."""
    settings = _settings(*node.args, **node.kwargs)
    if not is_scalar(settings["dropout_p"]) or settings["dropout_p"] != 0:
        raise Refusal("its dropout is not 0, so that it draws random numbers")
    if settings["enable_gqa"] is not False:
        raise Refusal("enable_gqa repeats the keys for groups of heads; only one key a head is written out")
    if not isinstance(settings["is_causal"], bool):
        raise Refusal("is_causal is computed when the model runs")
    if settings["attn_mask"] is not None and settings["is_causal"]:
        raise Refusal("it has a mask and is_causal, which torch refuses as well")
    mask = settings["attn_mask"]
    if isinstance(mask, fx.Node) and not is_truth(mask) and constant_tensor(graph_module, mask) is None:
        raise Refusal("its mask depends on the input: whether it is added or selects is not known before it runs")
    return settings


class ScaledDotProduct(RewritePass):
    """F.scaled_dot_product_attention becomes matmul, softmax and matmul.

    What it does: the query is multiplied by the scale and by the transposed key, the mask is added (or, of truth
    values, fills with minus infinity), and the softmax of it is multiplied by the value.

    Why: the fused function is one float operation that needs three float tensors; written out, the operations around
    it see what they are read by, and its parts stand in the report.

    Leaves alone: a dropout other than 0, `enable_gqa`, a mask that depends on the input and is not known to hold truth
    values. Declared tolerance: 1e-5 of the output's largest magnitude, because the fused kernel adds up in another
    order.
    """

    name = "scaled-dot-product"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if node.op != "call_function" or node.target is not F.scaled_dot_product_attention:
                continue
            try:
                settings = _decide(editor.graph_module, node)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            self._write_out(editor, node, settings)

    def _write_out(self, editor: Editor, node: fx.Node, settings: dict[str, Any]) -> None:
        def call(target: Any, *args: Any, **kwargs: Any) -> fx.Node:
            op, word = ("call_method", target) if isinstance(target, str) else ("call_function", target.__name__)
            return editor.insert_call(node, op, target, args, f"{node.name}_{word}", _REASON, kwargs=kwargs)

        hidden: fx.Node | None = None
        scale = settings["scale"]
        if scale is None:
            scale = call(operator.pow, call("size", settings["query"], -1), -0.5)
        scores = call(
            operator.matmul, call(operator.mul, settings["query"], scale), call("transpose", settings["key"], -2, -1)
        )
        mask = settings["attn_mask"]
        if settings["is_causal"]:
            allowed = call("tril", call(torch.ones_like, scores, dtype=torch.bool))
            scores = call("masked_fill", scores, call("logical_not", allowed), -math.inf)
        elif mask is not None:
            known = None if is_truth(mask) else constant_tensor(editor.graph_module, mask)
            if known is None or known.dtype is torch.bool:
                hidden = call("logical_not", mask)
                scores = call("masked_fill", scores, hidden, -math.inf)
            else:
                scores = call(operator.add, scores, mask)
        path = editor.free_path(module_scope(node), "softmax")
        editor.graph_module.add_submodule(path, nn.Softmax(-1).train(editor.graph_module.training))
        weights = editor.insert_call(node, "call_module", path, (scores,), f"{node.name}_softmax", _REASON)
        if hidden is not None and is_truth(mask):  # where all is hidden the function gives zeros, and a softmax NaN
            weights = call("masked_fill", weights, call("all", hidden, -1, True), 0.0)
        editor.retarget(node, "call_function", operator.matmul, (weights, settings["value"]), {}, _REASON)

    @staticmethod
    def example() -> nn.Module:
        class Attend(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return F.scaled_dot_product_attention(x, x, x)

        return Attend()
