"""Whether a float network itself amplifies any noise: then no int8 form of it could be told from a wrong one.

Deep networks with random weights may: what differs by a hundredth at the input differs wholly at the output, as in any
chaotic map (Poole et al. 2016, "Exponential expressivity in deep neural networks through transient chaos").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from fxconv.models import forward
from fxconv.models.graph_calls import Inputs
from rewrites.surroundings import unchanged

# Rounding to 8 bits over a range of 4 deviations to either side makes noise of 1 / 110 of a deviation: -41 dB.
NOISE_DB = -40.0
# On 10 random networks of torchvision and transformers int8 had as much about its mean as this noise leaves, or up to
# 6 dB less: 14.8 dB and 15.9 on a resnet18, 8.2 and 11.5 on a mobilenet_v3_small, 1.1 and 6.8 on an efficientnet_b0,
# 0.2 and 1.3 on a resnet50, -4.5 and -0.6 on an EfficientNetModel. So below 6 dB a right int8 form may have less than
# the 0 dB that a constant has.
LEAST_DB = 6.0
_IMAGES = 4

# After these int8 rounds. ReLU, normalization and pooling are fused into them or add no rounding of their own.
_LAYERS: tuple[Any, ...] = (
    *(torch.conv1d, torch.conv2d, torch.conv3d),
    *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
    *(F.linear, F.bilinear, torch.matmul, torch.bmm, torch.einsum, torch.Tensor.matmul, torch.Tensor.__matmul__),
    *(torch.Tensor.bmm, F.multi_head_attention_forward, F.scaled_dot_product_attention),
)
_ACTIVATIONS: tuple[Any, ...] = (
    *(F.silu, F.mish, F.gelu, F.elu, F.celu, F.selu, F.leaky_relu, F.prelu, F.softplus, F.hardswish, F.hardsigmoid),
    *(F.sigmoid, torch.sigmoid, torch.Tensor.sigmoid, F.tanh, torch.tanh, torch.Tensor.tanh, F.softmax, torch.softmax),
    *(torch.Tensor.softmax, F.glu, F.logsigmoid),
)
_ROUNDED = frozenset((*_LAYERS, *_ACTIVATIONS))


@dataclass(frozen=True)
class NoiseGain:
    """How much of each output little noise leaves.

    `sqnr` has the decibels of each floating-point output that varies, in order, its signal counted about its mean over
    the images; -inf where noise changes how many values there are, as of boxes that a threshold selects.
    """

    sqnr: tuple[float, ...]

    @property
    def worst(self) -> float:
        """The output that noise leaves least of; infinite when there is none that could differ."""
        return min(self.sqnr, default=math.inf)

    @property
    def amplifies(self) -> bool:
        """Whether an output is lost in noise as little as that of 8 bits."""
        return self.worst < LEAST_DB


def amplifies_noise(floating: nn.Module, images: Sequence[Inputs]) -> bool:
    """Whether noise as little as that of rounding to 8 bits drowns an output of the float module; see `noise_gain`."""
    return noise_gain(floating, images).amplifies


def noise_gain(floating: nn.Module, images: Sequence[Inputs], seed: int = 0) -> NoiseGain:
    """What is left of the outputs when noise of -40 dB is added wherever int8 would round: twice through the module.

    The noise is normal, drawn from the seed, and relative to the deviation of what it is added to: each input of
    floating-point numbers, and each result of a layer or of an activation but ReLU, whatever module or function
    computes it. `images` are arguments of the module's forward; the first four are used.
    """
    generator = torch.Generator().manual_seed(seed)
    some = images[:_IMAGES]

    def noisy(image: Inputs) -> Any:
        given = tree_map(lambda value: _with_noise(value, generator), image)
        with _Rounding(generator):
            return floating(*given)

    with torch.no_grad(), unchanged(floating):
        clean = [forward.returned(floating, image) for image in some]
        found = [[leaf.clone() for leaf in forward.tensors(noisy(forward.cloned(image)))] for image in some]
    counts = {len(each) for each in (*clean, *found)}
    if len(counts) > 1:
        return NoiseGain((-math.inf,))
    pairs = [_left(list(a), list(b)) for a, b in zip(zip(*clean, strict=True), zip(*found, strict=True), strict=True)]
    return NoiseGain(tuple(decibels for decibels in pairs if decibels is not None))


class _Rounding(TorchFunctionMode):
    """Inside, what int8 would round gets noise, as of rounding."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        return tree_map(lambda value: _with_noise(value, self.generator), result) if function in _ROUNDED else result


def _with_noise(value: Any, generator: torch.Generator) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() < 2:
        return value
    deviation = value.std(correction=0) * 10 ** (NOISE_DB / 20)
    return value + torch.randn(value.shape, generator=generator, dtype=value.dtype) * deviation


def _left(clean: list[Tensor], noisy: list[Tensor]) -> float | None:
    """The decibels of one output, given for each image, about its mean; None for one that says nothing of noise."""
    if not all(value.is_floating_point() or value.is_complex() for value in clean):
        return None
    if [value.shape for value in clean] != [value.shape for value in noisy]:
        return -math.inf
    wanted, got = ([_real(value) for value in values] for values in (clean, noisy))
    rows = wanted if len(wanted) > 1 else list(wanted[0]) if wanted[0].ndim > 1 else []
    if len(rows) > 1 and len({row.shape for row in rows}) == 1:
        stacked = torch.stack(rows)
        about = (stacked - stacked.mean(0)).square().sum() * len(rows) / (len(rows) - 1)
    else:
        values = torch.cat([value.flatten() for value in wanted])
        about = (values - values.mean()).square().sum()
    signal, noise = float(about), sum(float((a - b).square().sum()) for a, b in zip(wanted, got, strict=True))
    if signal == 0:
        return None
    if not math.isfinite(signal) or not math.isfinite(noise):
        return -math.inf
    return 10 * math.log10(signal / noise) if noise else math.inf


def _real(value: Tensor) -> Tensor:
    return (torch.view_as_real(value) if value.is_complex() else value).double()
