"""The float form of an int8 operation, with the int8 operation's own weights: what it is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.ao.nn.quantized as nnq
from torch import Tensor, fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.utils._pytree import tree_leaves

from fxconv.quantization.int8_weights import own_weights
from rewrites.readers import asks_shape_alone
from rewrites.values import submodule


class FloatForms:
    """The float forms of the operations of an int8 graph; `floating` is the float graph it was made of, node for node.

    `nodes` are those of `floating` by name.
    """

    def __init__(self, int8: fx.GraphModule, floating: fx.GraphModule) -> None:
        self.int8, self.floating = int8, floating
        self.nodes = {node.name: node for node in floating.graph.nodes}
        self._calls = fx.Interpreter(int8)

    def twin(self, node: fx.Node) -> nn.Module | None:
        """The float module that an int8 node calls, None where it calls none."""
        return submodule(self.floating, self.nodes[node.name])

    def reference(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """What the float form of `node` gives for float arguments."""
        module = submodule(self.int8, node)
        if module is None:
            return getattr(self._calls, node.op)(node.target, args, kwargs)
        if isinstance(self.twin(node), (QuantStub, DeQuantStub)):
            return args[0]
        floating = self.floating.get_submodule(str(node.target))
        return torch.func.functional_call(floating, own_weights(floating, module), args, kwargs)


def is_int8_operation(module: nn.Module | None, node: fx.Node, values: Mapping[fx.Node, Any]) -> bool:
    """Whether a node is an int8 operation: it calls something on quantized tensors, or makes them.

    `values` are those of the nodes before it; one that it takes only the shape of may be quantized or not.
    """
    if node.op not in ("call_module", "call_function", "call_method"):
        return False
    given = [values[one] for one in node.all_input_nodes if not asks_shape_alone(node, one)]
    return isinstance(module, nnq.Quantize) or any(
        isinstance(leaf, Tensor) and leaf.is_quantized for leaf in tree_leaves(given)
    )


def dequantized(value: Any) -> Any:
    """A quantized tensor in float, anything else as it is."""
    return value.dequantize() if isinstance(value, Tensor) and value.is_quantized else value
