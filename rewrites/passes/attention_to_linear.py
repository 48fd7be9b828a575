"""nn.MultiheadAttention  ->  Linear, F.scaled_dot_product_attention, Linear."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.modules import LinearRows, bind
from rewrites.values import callee, calls_of, constant_tensor, is_truth, modules_read_inside, submodule

_REASON = "its linear layers become int8 ones"


def _settings(
    query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: Any = True, attn_mask: Any = None,
    average_attn_weights: Any = True, is_causal: Any = False,
) -> dict[str, Any]:  # fmt: skip
    """The arguments by name, bound as the module's own forward binds them."""
    return locals()


@dataclass(frozen=True)
class _Call:
    """One call that can be taken apart: what it reads, and the nodes that take its first and second result."""

    node: fx.Node
    inputs: tuple[fx.Node, fx.Node, fx.Node]
    mask: fx.Node | None
    padding: fx.Node | None
    outputs: tuple[fx.Node, ...]
    unread: tuple[fx.Node, ...]


def _check_module(graph_module: fx.GraphModule, attention: nn.MultiheadAttention) -> None:
    if attention.bias_k is not None or attention.bias_v is not None:
        raise Refusal("add_bias_kv appends a learned row to the keys and values, which no linear layer gives")
    if attention.add_zero_attn:
        raise Refusal("add_zero_attn appends a row of zeros to the keys and values, which no linear layer gives")
    read = modules_read_inside(graph_module)
    if id(attention) in read or id(attention.out_proj) in read:
        raise Refusal("its weights are also read by name")


def _decide(graph_module: fx.GraphModule, node: fx.Node) -> _Call:
    """What a call reads and who reads it. Raises `Refusal` when it cannot be taken apart."""
    settings = _settings(*node.args, **node.kwargs)
    inputs = tuple(settings[name] for name in ("query", "key", "value"))
    if not all(isinstance(value, fx.Node) for value in inputs):
        raise Refusal("an input is not a tensor of this graph")
    padding = settings["key_padding_mask"]
    if padding is not None and not is_truth(padding):
        raise Refusal("a key_padding_mask depends on the input; what it masks is not known before the model runs")
    if settings["is_causal"] is not False:
        raise Refusal("is_causal says something of the mask that the mask need not bear out")
    mask = settings["attn_mask"]
    if mask is not None and padding is not None:
        raise Refusal("a key_padding_mask stands beside another mask")
    if mask is not None:
        given = constant_tensor(graph_module, mask) if isinstance(mask, fx.Node) else None
        if given is None or given.ndim != 2:
            raise Refusal("only a constant mask of one row a query and one column a key is taken apart")
    takers: dict[int, list[fx.Node]] = {0: [], 1: []}
    for user in node.users:
        which = user.args[1] if callee(graph_module, user) is operator.getitem else None
        if not isinstance(which, int) or which not in (0, 1) or user.args[0] is not node:
            raise Refusal(f"both of its results are handed on at once, to {user.name}")
        takers[which].append(user)
    if any(user.users for user in takers[1]):
        raise Refusal("its attention weights, its second result, are read as well")
    return _Call(node, inputs, mask, padding, tuple(takers[0]), tuple(takers[1]))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer that holds these very tensors."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    bind(layer, "weight", weight)
    bind(layer, "bias", bias)
    return layer


def _parts(attention: nn.MultiheadAttention, together: bool) -> dict[str, nn.Module]:
    """The linear layers of an attention: one for query, key and value together, or one for each."""
    size, bias = attention.embed_dim, attention.in_proj_bias
    parts: dict[str, nn.Module] = {}
    if together:
        parts["in_proj"] = _linear(attention.in_proj_weight, bias)
    else:
        for index, name in enumerate(("q_proj", "k_proj", "v_proj")):
            packed = attention.in_proj_weight
            weight = packed if packed is not None else getattr(attention, f"{name}_weight")
            if packed is None and bias is None:
                parts[name] = _linear(weight, None)
            else:
                parts[name] = LinearRows(weight, bias, index * size, (index + 1) * size)
    return {**parts, "out_proj": _linear(attention.out_proj.weight, attention.out_proj.bias)}


class AttentionToLinear(RewritePass):
    """nn.MultiheadAttention becomes linear layers around a scaled dot product.

    What it does: one linear layer projects query, key and value where they are the same tensor, three do where they
    are not; the heads are split off, `F.scaled_dot_product_attention` joins them, and a linear layer projects the
    result. The layers hold the attention's own parameters, so old checkpoints load.

    Why: left whole it is one float operation; its linear layers, a quarter to a third of a vision transformer's
    parameters, would stay float.

    Leaves alone: `add_bias_kv`, `add_zero_attn`, `is_causal`, a mask that depends on the input or has more than two
    dimensions, a `key_padding_mask` that is not known to hold truth values or stands beside another mask, and calls
    whose attention weights are read. Declared tolerance: 1e-5 of the
    output's largest magnitude, because the fused kernel adds up in another order.
    """

    name = "attention-to-linear"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        graph_module = editor.graph_module
        done: set[int] = set()
        for node in editor.nodes():
            attention = submodule(graph_module, node)
            if type(attention) is not nn.MultiheadAttention or id(attention) in done:
                continue
            done.add(id(attention))
            callers = calls_of(graph_module, node)
            try:
                _check_module(graph_module, attention)
                calls = [_decide(graph_module, caller) for caller in callers]
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            together = all(call.inputs[0] is call.inputs[1] is call.inputs[2] for call in calls)
            path, parts = str(node.target), _parts(attention, together and attention.in_proj_weight is not None)
            editor.add_parts(path, parts)
            for caller in callers:
                call = _decide(graph_module, caller)  # once more: it may read what another call gave
                self._write_out(editor, call, path, attention, "in_proj" in parts)
            editor.strip(path, list(parts))

    def _write_out(
        self, editor: Editor, call: _Call, path: str, attention: nn.MultiheadAttention, together: bool
    ) -> None:
        node, heads = call.node, attention.num_heads

        def method(name: str, *args: Any) -> fx.Node:
            return editor.insert_call(node, "call_method", name, args, f"{node.name}_{name}", _REASON, path)

        def project(part: str, value: Any) -> fx.Node:
            return editor.insert_call(
                node, "call_module", f"{path}.{part}", (value,), f"{node.name}_{part}", _REASON, path
            )

        def batch_first(value: fx.Node) -> fx.Node:
            # [L, N, E] to [N, L, E]; without a batch, [L, E], it changes nothing
            return value if attention.batch_first else method("transpose", value, 0, -2)

        if together:
            projected = project("in_proj", batch_first(call.inputs[0]))
            split = method("unflatten", projected, -1, (3, heads, attention.head_dim))
            stacked = method("transpose", method("movedim", split, -3, 0), -3, -2)
            operands = [
                editor.insert_call(
                    node, "call_function", operator.getitem, (stacked, index), f"{node.name}_{word}", _REASON, path
                )
                for index, word in enumerate(("q", "k", "v"))
            ]
        else:
            turned = {value: batch_first(value) for value in dict.fromkeys(call.inputs)}
            operands = []
            for part, value in zip(("q_proj", "k_proj", "v_proj"), call.inputs, strict=True):
                split = method("unflatten", project(part, turned[value]), -1, (heads, attention.head_dim))
                operands.append(method("transpose", split, -3, -2))
        settings: dict[str, Any] = {"scale": attention.head_dim**-0.5}
        if call.mask is not None:
            given = constant_tensor(editor.graph_module, call.mask)
            is_bool = given is not None and given.dtype.is_floating_point is False
            # True means masked here, and taking part there
            settings["attn_mask"] = method("logical_not", call.mask) if is_bool else call.mask
        if call.padding is not None:
            # [N, S] to [N, 1, 1, S], for each head and query; without a batch, [S], to [1, 1, S]
            hidden = method("unsqueeze", method("unsqueeze", call.padding, -2), -3)
            settings["attn_mask"] = method("logical_not", hidden)
            settings["attn_mask"].meta["dtype"] = torch.bool
        attended = editor.insert_call(
            node, "call_function", F.scaled_dot_product_attention, operands, f"{node.name}_attended", _REASON, path,
            settings,
        )  # fmt: skip
        joined = method("flatten", method("transpose", attended, -3, -2), -2)
        result = batch_first(project("out_proj", joined))
        for taker in call.outputs:
            editor.remove(taker, result, "the attention's first result is its last linear layer's")
        for taker in call.unread:
            editor.erase(taker, "nobody reads it")
        editor.erase(node, "its linear layers stand for themselves")

    @staticmethod
    def example() -> nn.Module:
        class Attend(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

            def forward(self, x: Tensor) -> Tensor:
                x = x.flatten(2).transpose(1, 2)
                return self.attention(x, x, x, need_weights=False)[0]

        return Attend()
