"""Multiply-accumulates of a convolution or linear layer."""

from __future__ import annotations

from torch import Tensor


def layer_macs(weight: Tensor, given: Tensor, out: Tensor, transposed: bool) -> int:
    """Each output (each input, when transposed) of a layer meets one filter's worth of weights."""
    return int((given if transposed else out).numel() * (weight.numel() // weight.shape[0]))
