"""What the rewrites of ExecuTorch's form read of a node."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx


def word(node: Any) -> str:
    """What a node calls, as aten names it: `convolution`, `quantize_per_tensor`; "" where it calls nothing."""
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return ""
    parts = getattr(node.target, "__name__", str(node.target)).split(".")  # aten.convolution.default, or sym_size.int
    return parts[1] if len(parts) > 2 else parts[0]


def is_quantize(node: Any) -> bool:
    """Whether this quantizes with one scale."""
    return word(node) == "quantize_per_tensor"


def is_dequantize(node: Any) -> bool:
    """Whether this dequantizes with one scale."""
    return word(node) == "dequantize_per_tensor"


def sizes(node: fx.Node) -> tuple[Any, ...]:
    """The sizes of a node's tensor, numbers or symbols; () where it is none."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def rank(node: fx.Node) -> int:
    """How many dimensions a node's tensor has; 0 where it is none."""
    return len(sizes(node))
