"""What a model that was given from Python is called with, as far as its layers and an example say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fxconv.errors import ArgumentError, UserError
from fxconv.models.preprocessing import FRAMES, Preprocessing
from fxconv.models.signature import InputSignature, sizes

_RANKS: dict[type[nn.Module], int] = {nn.Conv1d: 2, nn.Conv2d: 3, nn.Conv3d: 4}


@dataclass(frozen=True)
class ExpectedInput:
    """What a model takes: `signature`, and how photographs become it by `preprocessing`.

    `rank` and `channels` are those of one image, `[C, H, W]`, from the example or the first convolution; None where
    neither says it. `example` are the arguments of one call, None where there is no example.
    """

    signature: InputSignature
    preprocessing: Preprocessing
    rank: int | None = None
    channels: int | None = None
    example: tuple[Any, ...] | None = None

    @classmethod
    def of(
        cls, model: nn.Module, example_inputs: Any = None, preprocessing: Preprocessing | None = None
    ) -> ExpectedInput:
        """From a model, and what it was given as an example. Raises `UserError` for an example it does not take."""
        signature = InputSignature.of(model)
        first = next((layer for layer in model.modules() if isinstance(layer, tuple(_RANKS))), None)
        rank = _RANKS[next(kind for kind in _RANKS if isinstance(first, kind))] if first is not None else None
        channels = int(first.in_channels) if first is not None else None  # type: ignore[arg-type]
        found = cls(signature, preprocessing or Preprocessing(), rank, channels)
        example = found._arguments(example_inputs) if example_inputs is not None else None
        shapes = sizes(example) if example else []
        how = preprocessing or _usual(signature, channels, rank, shapes)
        if shapes and shapes[0]:
            rank, channels = len(shapes[0]), shapes[0][0]
        return cls(signature, how, rank, channels, example)

    def is_single(self, tensor: Tensor) -> bool:
        """Whether this is one image without N, as far as that is known."""
        return self.rank is not None and tensor.ndim == self.rank and tensor.shape[0] == self.channels

    @property
    def is_of_images(self) -> bool:
        """Whether photographs can fill all inputs: each takes floating-point numbers, and all are of one size."""
        tensors = [] if self.example is None else self.signature.tensors(self.example)
        alike = all(tensor.is_floating_point() and tensor.shape == tensors[0].shape for tensor in tensors)
        return alike and (self.rank is None or self.rank >= 3)

    def _arguments(self, given: Any) -> tuple[Any, ...]:
        """The arguments of one call, from a tensor, a tuple of them, or a dict by the names of the parameters."""
        names = self.signature.names
        if isinstance(given, Mapping):
            if unknown := [key for key in given if key not in names] or [name for name in names if name not in given]:
                raise UserError(
                    f"example_inputs: {unknown[0]!r} is {'not' if unknown[0] in names else 'no parameter'} "
                    f"{'given' if unknown[0] in names else 'of forward'}; a dict has a tensor for each of "
                    f"{', '.join(names)}, and a forward that takes a dict is not converted: wrap it in a module that "
                    "takes tensors"
                )
            given = tuple(given[name] for name in names)
        if isinstance(given, (Tensor, np.ndarray)):
            given = (given,)
        if not isinstance(given, (tuple, list)):
            raise ArgumentError(
                f"example_inputs: type {type(given).__name__} is not taken; give a tensor [1, C, H, W], or a tuple of "
                "tensors for a model of several inputs"
            )
        if self.signature.as_list and self.signature.count == 1 and all(isinstance(each, Tensor) for each in given):
            images = [image for each in given for image in (each.unbind(0) if each.ndim == 4 else (each,))]
            return (images,)
        if len(given) < len(names):
            raise UserError(
                f"example_inputs: {len(given)} tensors for a model that takes {len(names)} ({', '.join(names)}); give "
                "a tuple of as many"
            )
        return tuple(self._argument(place, each) for place, each in enumerate(given))

    def _argument(self, place: int, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value.astype(np.float32) if np.issubdtype(value.dtype, np.floating) else value)
        if isinstance(value, Mapping):
            raise UserError(
                f"example_inputs: input {place} is a dict, and a forward that takes a dict is not converted; wrap it "
                "in a module that takes tensors"
            )
        return value[None] if isinstance(value, Tensor) and place == 0 and self.is_single(value) else value


def _usual(
    signature: InputSignature, channels: int | None, rank: int | None, shapes: list[tuple[int, ...]]
) -> Preprocessing:
    """The usual preprocessing, for the input's size: the example's, else the channels of the first convolution."""
    how = Preprocessing.in_unit_range() if signature.as_list else Preprocessing()
    size = shapes[0] if shapes else ()
    if len(size) in (3, 4):
        frames = size[1] if len(size) == 4 else None
        how = how.resized(size[0], size[-2], size[-1], frames)
    elif rank is not None and rank >= 3:
        how = how.resized(channels, how.height, how.width, FRAMES if rank == 4 else None)
    return replace(how, images=signature.count)
