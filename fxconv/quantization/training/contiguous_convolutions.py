"""Convolutions that train in contiguous memory, because their gradient in channels_last is wrong or a crash.

oneDNN gathers the input of a strided 1x1 convolution in a workspace that is too small in channels_last when there are
fewer input channels than its kernel takes at once, 8 with AVX2 and 16 with AVX-512: the gradient of the weights is
wrong, or the process hangs or dies (https://github.com/uxlfoundation/oneDNN/issues/6035).
`tests/fxconv/quantization/training/test_contiguous_convolutions.py` fails on the day that it is mended.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CHANNELS_AT_ONCE = 16


def must_be_contiguous(layer: nn.Module) -> bool:
    """Whether a layer is a strided 1x1 convolution of so few input channels."""
    return (
        isinstance(layer, _LAYERS)
        and set(layer.kernel_size) == {1}
        and max(layer.stride) > 1
        and layer.in_channels // layer.groups < _CHANNELS_AT_ONCE
    )


def keep_contiguous(module: nn.Module) -> None:
    """Let such convolutions of a module compute in contiguous memory, whatever the layout of their inputs and weights.

    Their gradients follow: torch takes the layout of input and weight for the gradient of the output, too.
    """
    for layer in list(module.modules()):
        if must_be_contiguous(layer):
            layer.register_forward_pre_hook(_with_contiguous_input)
            parametrize.register_parametrization(layer, "weight", ContiguousWeight())


class ContiguousWeight(nn.Module):
    """Copies a weight to contiguous memory: one of 1x1 has either layout, and which it is taken for is in its strides.

    `Tensor.contiguous` gives such a weight back as it is.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """A copy of a weight of any shape."""
        return _contiguous(weight)


def _with_contiguous_input(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_contiguous(value) for value in inputs)


def _contiguous(value: Tensor) -> Tensor:
    return value.clone(memory_format=torch.contiguous_format)
