"""The size of image that a network takes, tried out on a copy, for the line that says that another does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fxconv.diagnostics.blame import is_out_of_memory
from fxconv.models import forward
from rewrites.copies import sharing_parameters

# Sides of square images that networks are made for, the usual ones first.
_SIDES = (224, 32, 28, 64, 96, 128, 112, 160, 192, 256, 299, 384, 512, 48, 16, 8)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Of a network that begins with a linear layer: the channels that its images may have.
_CHANNELS = (1, 3, 4)


def suggested(module: nn.Module, size: tuple[int, int] | None = None) -> tuple[int, ...] | None:
    """Channels, height and width of an image that the network takes, `(1, 32, 32)`; None where none was found.

    The channels are those of its first convolution, or what its first linear layer makes them; `size`, height and
    width in pixels, is tried before all others. A copy with the same parameters runs.
    """
    for shape in _tried(module, size):
        if _takes(module, shape):
            return shape
    return None


def in_option(shape: tuple[int, ...]) -> str:
    """The shape as --input-size has it: `1x32x32`."""
    return "x".join(map(str, shape))


def _tried(module: nn.Module, size: tuple[int, int] | None) -> Iterator[tuple[int, ...]]:
    first = next((one for one in module.modules() if isinstance(one, (*_CONVOLUTIONS, nn.Linear))), None)
    if isinstance(first, nn.Conv2d):
        sides = [(side, side) for side in _SIDES]
        yield from ((first.in_channels, *each) for each in ([size, *sides] if size is not None else sides))
    elif isinstance(first, nn.Linear):
        for channels in _CHANNELS:
            side = math.isqrt(first.in_features // channels)
            if side and channels * side * side == first.in_features:
                yield channels, side, side


def _takes(module: nn.Module, shape: tuple[int, ...]) -> bool:
    copy = sharing_parameters(module)
    empty = watched(copy)
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            outputs = forward.leaves(copy(image))
    except Exception as error:  # whatever the user's own forward raises
        if is_out_of_memory(error):
            raise
        return False
    return not empty and not any(leaf.isnan().any() for leaf in outputs if isinstance(leaf, Tensor))


def watched(module: nn.Module) -> list[str]:
    """A list that fills, as the module runs, with the layers whose output is empty, in words."""
    empty: list[str] = []

    def look(name: str, output: object) -> None:
        shapes = [tuple(leaf.shape) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        lost = (shape for shape in shapes if shape[:1] != (0,) and 0 in shape)  # no detections are a result, too
        empty.extend(f"{name} leaves nothing of it: {shape}" for shape in lost)

    for name, layer in module.named_modules():
        layer.register_forward_hook(lambda _, __, output, name=name or "the model": look(name, output))
    return empty
