"""Words for modules: what a module is, from its class and the shape of its weights."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence

from torch import nn

from rewrites.modules import CappedReLU

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def snake_case(name: str) -> str:
    """`SqueezeExcitation` to `squeeze_excitation`, `ReLU6` to `relu6`, `AvgPool2d` to `avg_pool2d`.

    >>> snake_case("LeakyReLU"), snake_case("AdaptiveAvgPool2d"), snake_case("GELU")
    ('leaky_relu', 'adaptive_avg_pool2d', 'gelu')
    """
    for unit in ("PReLU", "ReLU", "SiLU", "GELU", "CELU", "SELU", "ELU", "GLU"):
        name = name.replace(unit, unit.capitalize())
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def identifier(name: str) -> str:
    """A name that Python and TorchScript can read: a class may be called anything, and a key of a ModuleDict too.

    >>> identifier("My-Net"), identifier("for"), identifier("3d"), identifier("Net")
    ('My_Net', 'for_', '_3d', 'Net')
    """
    readable = re.sub(r"\W", "_", name) or "_"
    if readable[0].isdigit():
        readable = f"_{readable}"
    return f"{readable}_" if keyword.iskeyword(readable) else readable


def class_word(kind: type) -> str:
    """The word for a class: `conv`, `bn`, `linear`, or its own name in snake case."""
    if issubclass(kind, CONVOLUTIONS):
        return "conv"
    if issubclass(kind, BATCH_NORMS):
        return "bn"
    return identifier(snake_case(kind.__name__))


def module_word(module: nn.Module) -> str:
    """The word for one module; a capped ReLU is called by its cap, `relu6`."""
    return f"relu{module.cap:g}" if isinstance(module, CappedReLU) else class_word(type(module))


def convolution_role(convolution: nn.Module, activated: bool) -> str:
    """What a convolution is for: `depthwise`, `expand`, `project`, `pointwise` or plain `conv`.

    A 1x1 convolution without an activation behind it projects; with one it expands when it has more
    channels out than in (MobileNetV2's terms, Sandler et al. 2018).
    """
    assert isinstance(convolution, CONVOLUTIONS)
    if convolution.groups > 1 and convolution.groups == convolution.in_channels:
        return "depthwise"
    if any(size != 1 for size in convolution.kernel_size):
        return "conv"
    if not activated:
        return "project"
    return "expand" if convolution.out_channels > convolution.in_channels else "pointwise"


def all_different(words: Sequence[str]) -> bool:
    """Whether no word appears twice."""
    return len(set(words)) == len(words)
