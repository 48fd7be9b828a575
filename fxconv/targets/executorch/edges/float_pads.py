"""Padding of dequantized values that is not quantized after it."""

from __future__ import annotations

from typing import Any

from torch import fx

from fxconv.targets.executorch.edges.values import is_dequantize, is_quantize, word


def float_pads(graph_module: fx.GraphModule) -> None:
    """Zeros around dequantized values are quantized with these, in the same scale, which has a zero.

    ExecuTorch 1.5 does so itself, but in the delegate alone, once it is settled what is int8 there: it reads float
    values then and gives int8 ones, and the file does not load.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if word(node) != "constant_pad_nd" or not is_dequantize(node.args[0]):
            continue
        given: Any = node.args[0]
        if (len(node.args) > 2 and node.args[2] != 0) or any(is_quantize(reader) for reader in node.users):
            continue
        source = given.args[0]
        with graph.inserting_after(node):
            quantize = graph.call_function(_quantize(), (node, *given.args[1:]))
        quantize.meta = {**node.meta, "val": source.meta["val"].new_empty(node.meta["val"].shape)}
        with graph.inserting_after(quantize):
            dequantize = graph.call_function(given.target, (quantize, *given.args[1:]))
        dequantize.meta = dict(node.meta)
        node.replace_all_uses_with(dequantize, delete_user_cb=lambda reader, own=quantize: reader is not own)


def _quantize() -> Any:
    from executorch.exir.dialects._ops import ops

    return ops.edge.quantized_decomposed.quantize_per_tensor.default
