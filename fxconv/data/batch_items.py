"""What a loader, a dataset or a list gives: taken apart into the network's inputs, and what is known of their class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fxconv.errors import ArgumentError, UserError
from fxconv.models.expected_input import ExpectedInput
from fxconv.models.image_pixels import UnreadablePhotograph, decoded
from fxconv.models.preprocessing import Preprocessing
from fxconv.wording import counted

# Where datasets keep their images, and the class of each.
_IMAGE_KEYS = ("image", "images", "pixel_values", "img", "x", "input")
_LABEL_KEYS = ("label", "labels", "target", "targets", "y", "class")
_PIXELS = 3  # dims of uint8 pixels, [H, W, C]


@dataclass
class Row:
    """One image, each input of the network without N, and its class index where something says it."""

    inputs: tuple[Tensor, ...]
    label: int | None = None


@dataclass
class Items:
    """Takes items apart, and keeps what was found: the `key` of the images in dicts, whether there were `pixels`.

    `what` names the argument, for messages.
    """

    expected: ExpectedInput
    what: str
    key: str = ""
    pixels: bool = False
    _place: int = field(default=0, repr=False)

    def apart(self, item: Any, is_sample: bool = False) -> tuple[tuple[Any, ...], Any]:
        """The inputs in an item, as they are, and what stands beside them; a batch or one image.

        A tuple or list holds as many inputs as the model has, and labels or targets behind them. A dict has the inputs
        under the names of the forward's parameters; a lone one under a usual name, or it is the only tensor. A list of
        images, without N, is a batch, unless it is a sample of a dataset's.
        """
        names = self.expected.signature.names
        if isinstance(item, Mapping):
            return self._of_dict(item)
        if not isinstance(item, (tuple, list)):
            if len(names) > 1 and isinstance(item, Tensor):
                raise self._of_other_count(1)
            return (item,), None
        if isinstance(item, list) and item and not is_sample and all(map(self._is_single, item)):
            return (item,), None
        if item and isinstance(item[0], Mapping):
            inputs, beside = self._of_dict(item[0])
            return inputs, item[1] if len(item) > 1 else beside
        if len(names) > 1 and len(item) == 2 and isinstance(item[0], (tuple, list)) and len(item[0]) == len(names):
            return tuple(item[0]), item[1]
        if not len(names) <= len(item) <= (len(names) + 1 if len(names) > 1 else len(item)):
            raise self._of_other_count(len(item))
        return tuple(item[: len(names)]), item[len(names)] if len(item) > len(names) else None

    def _of_other_count(self, count: int) -> UserError:
        names = self.expected.signature.names
        given = f"{count} tensor{'s' * (count != 1)}"
        return UserError(f"{self.what}: {given} in a batch for a model that takes {len(names)} ({', '.join(names)})")

    def _of_dict(self, item: Mapping[Any, Any]) -> tuple[tuple[Any, ...], Any]:
        names = self.expected.signature.names
        beside = next((item[key] for key in _LABEL_KEYS if key in item and key not in names), None)
        if all(name in item for name in names):
            self.key = ", ".join(map(repr, names))
            return tuple(item[name] for name in names), beside
        key = next((key for key in _IMAGE_KEYS if key in item), None)
        if key is None:
            tensors = [key for key, value in item.items() if isinstance(value, Tensor) and value.ndim == 4]
            key = tensors[0] if len(tensors) == 1 else None
        if key is None or len(names) > 1:
            listed = ", ".join(map(str, item)) or "none"
            raise UserError(
                f"{self.what}: its dicts have no key {names[0]!r}, which the forward's parameter is named; they have "
                f"{listed}: name the images so, or give tuples"
            )
        self.key = repr(key)
        return (item[key],), beside

    def rows(self, item: Any, is_sample: bool = False) -> Iterator[Row]:
        """The images in an item, one by one. With `is_sample` it is one of a dataset's, without N."""
        given, beside = self.apart(item, is_sample)
        inputs = [self._stacked(value) for value in given]
        if is_sample or self._is_single(inputs[0]):
            yield self._row(tuple(inputs), _label(beside))
            return
        counts = {len(value) for value in inputs}
        if len(counts) != 1:
            raise UserError(f"{self.what}: the inputs of one batch are of different N; a batch is one tensor an input")
        labels = class_indices(beside, next(iter(counts)))
        for place, each in enumerate(zip(*inputs, strict=True)):
            yield self._row(each, labels[place] if labels is not None else None)

    def _stacked(self, value: Any) -> Any:
        """An input as a tensor, pixels as an array or an image; several images in a list stay one."""
        if isinstance(value, (Image.Image, list, tuple)):
            return value
        if isinstance(value, np.ndarray):
            if value.dtype != np.uint8:
                return torch.from_numpy(np.ascontiguousarray(value))
            return value
        if isinstance(value, Tensor):
            return _channels_last(value, self.expected.preprocessing) if value.dtype == torch.uint8 else value
        raise ArgumentError(
            f"{self.what}: type {type(value).__name__} in it is no image; give tensors, arrays or PIL images"
        )

    def _is_single(self, value: Any) -> bool:
        if isinstance(value, np.ndarray):
            return value.ndim <= _PIXELS
        return isinstance(value, Image.Image) or (isinstance(value, Tensor) and self.expected.is_single(value))

    def _row(self, inputs: tuple[Any, ...], label: int | None) -> Row:
        """One image, its pixels preprocessed."""
        how, place = self.expected.preprocessing, self._place
        self._place += 1
        first = self._stacked(inputs[0])
        if isinstance(first, (list, tuple)):
            raise ArgumentError(
                f"{self.what}: gives lists in lists, which are no images; give tensors, arrays or PIL images"
            )
        if isinstance(first, (Image.Image, np.ndarray)):
            self.pixels = True
            if len(inputs) == 1:
                return Row(_from_pixels(first, how, place, self.what), label)
        values = [self._stacked(value) for value in inputs]
        whole = [_from_pixels(v, how, place, self.what)[0] if not isinstance(v, Tensor) else v for v in values]
        return Row(tuple(self._as_taken(value) for value in whole), label)

    def _as_taken(self, value: Tensor) -> Tensor:
        value = value.detach()
        if value.is_floating_point():
            if not value.isfinite().all():
                raise UserError(f"{self.what}: holds values that are not finite (NaN or infinite)")
            return value.float().clone()  # a loader's workers share the memory of what they give
        if value.ndim >= _PIXELS:
            raise UserError(
                f"{self.what}: the tensors hold integers; give float32, preprocessed as the network's inputs, or uint8 "
                "pixels"
            )
        return value.clone()


def class_indices(beside: Any, count: int) -> list[int] | None:
    """The class index of each of `count` images, from what stands beside them; None where it is something else."""
    if isinstance(beside, (Tensor, np.ndarray)):
        beside = torch.as_tensor(beside)
        if beside.is_floating_point() or beside.numel() != count or beside.ndim > 2:
            return None
        return [int(value) for value in beside.flatten()]
    if not isinstance(beside, Sequence) or len(beside) != count:
        return None
    labels = [_label(value) for value in beside]
    return None if None in labels else [label for label in labels if label is not None]


def _label(value: Any) -> int | None:
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0:
        value = value.item()
    return int(value) if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else None


def _channels_last(value: Tensor, how: Preprocessing) -> Any:
    """uint8 pixels `[..., H, W, C]`, from those or `[..., C, H, W]`."""
    if value.ndim >= _PIXELS:
        first, last = value.shape[-3], value.shape[-1]
        if first == how.channels or (first in (1, 3) and last not in (1, 3)):
            value = value.movedim(-3, -1)
    return value.cpu().numpy()


def _from_pixels(image: Any, how: Preprocessing, place: int, what: str) -> tuple[Tensor, ...]:
    """A PIL image, or uint8 `[H, W, C]` or `[H, W]`, as all that one call takes, without N."""
    if isinstance(image, np.ndarray):
        image = image[:, :, None] if image.ndim == 2 else image
        if image.ndim != _PIXELS:
            raise UserError(f"{what}: uint8 {image.shape} is no picture; give pixels [H, W, C]")
        if image.shape[2] == how.channels and how.is_still:
            if image.shape[:2] != (how.height, how.width) and how.channels not in (1, 3):
                raise UserError(f"{what}: uint8 images of {how.channels} channels cannot be resized; give them as "
                                f"[N, {how.height}, {how.width}, {how.channels}]")  # fmt: skip
            return (how.pixels(image),)
        if image.shape[2] not in (1, 3, 4):
            raise UserError(f"{what}: uint8 images of shape {image.shape} are no pixels [H, W, C] of "
                            f"{counted(how.channels, 'channel')}; transpose them")  # fmt: skip
        image = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    if how.channels not in (1, 3):
        raise UserError(f"{what}: photographs cannot fill {how.channels} channels; give float tensors [N, C, H, W]")
    try:
        return how.inputs(decoded(image, how.mode), place)
    except UnreadablePhotograph as error:
        raise UserError(f"{what}: a picture cannot be read: {error}") from error
