"""An int8 layer's weights and bias, by the names its float layer has for them."""

from __future__ import annotations

from torch import Tensor, nn

from rewrites.fusion import weighted


def weight_prefix(floating: nn.Module) -> str:
    """What stands before the names of a float module's weights."""
    return "0." if weighted(floating) is not floating else ""


def int8_weight(module: nn.Module) -> Tensor | None:
    weight = getattr(module, "weight", None)
    return weight() if callable(weight) else None


def own_weights(floating: nn.Module, module: nn.Module) -> dict[str, Tensor]:
    """The int8 module's weights and bias in float, by the names the float module has for them."""
    weight = int8_weight(module)
    if weight is None:
        return {}
    prefix = weight_prefix(floating)
    own = {f"{prefix}weight": weight.dequantize()}
    bias = module.bias()  # type: ignore[operator]
    return own if bias is None else {**own, f"{prefix}bias": bias.detach()}
