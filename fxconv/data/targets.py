"""Images with what is known of each: class indices, masks, boxes, or whatever a metric of the user's compares with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fxconv.data.arrays import open_targets
from fxconv.data.calibration import Batches, CalibrationData
from fxconv.data.calibration_arrays import Arrays
from fxconv.data.labels import Classes, read_classes
from fxconv.errors import UserError
from fxconv.models.preprocessing import Preprocessing
from fxconv.models.signature import InputSignature
from fxconv.wording import counted

# Of a list of images, each without N, an image has so many dims.
_IMAGE = 3

Pair = tuple[tuple[Tensor, ...], Any]
"""A batch, one tensor `[N, ...]` for each input of the model, and its target; None where there is none."""


class TargetBatches(Batches):
    """Batches given from Python, each with its target, which is kept as it is."""

    def __init__(self, given: Iterable[Pair]) -> None:
        listed = list(given)
        super().__init__([tensors for tensors, _ in listed])
        self.targets = [target for _, target in listed]
        self.source = f"{counted(self.count, 'image')} given from Python"

    def pairs(self, count: int) -> Iterator[Pair]:
        """The batches that the first `count` images are in, each whole: a target cannot be cut."""
        place = 0
        for batch, target in zip(self._batches, self.targets, strict=True):
            if place >= count:
                return
            place += len(batch[0])
            yield batch, target


class TargetArrays(CalibrationData):
    """Images and their targets in an .npz file: the arrays `images` or `x`, and `targets` or `y`, drawn with a seed."""

    def __init__(
        self, path: Path, preprocessing: Preprocessing, count: int, batch_size: int, seed: int, option: str
    ) -> None:
        member, self.targets = open_targets(path, option)
        self.given = Arrays(Path(f"{path}:{member}"), preprocessing, count, batch_size, seed, option)
        rows = self.given.array.shape[0]
        if self.targets.shape[:1] != (rows,):
            raise UserError(
                f"{option} {path}: {rows} images and targets of shape {self.targets.shape}; give a target for each"
            )
        self.source, self.count, self.batch_size = self.given.source, self.given.count, batch_size
        self.preprocessing = preprocessing

    @property
    def warnings(self) -> list[str]:
        return self.given.warnings

    @property
    def normalized_by(self) -> Preprocessing | None:
        return self.given.normalized_by

    def images(self) -> Iterator[tuple[Tensor, ...]]:
        return self.given.images()

    def pairs(self, count: int) -> Iterator[Pair]:
        """The batches of the first `count` images; the targets of each are one tensor `[N, ...]`."""
        rows = self.targets.at(self.given.places)
        for batch in self.batches(count):
            yield batch, torch.from_numpy(np.stack([next(rows) for _ in batch[0]]))


def read_targets(evaluation: Path | None, labels: Path | None, has_metric: bool) -> Classes | Path | None:
    """What `--eval` and `--labels` say of images: classes of photographs, or an .npz file of images and targets.

    Raises `UserError` where they do not go together, and for arrays without a metric that compares with them.
    """
    if evaluation is None or evaluation.is_dir() or evaluation.suffix.lower() != ".npz":
        return read_classes(evaluation, labels)
    if not has_metric:
        raise UserError(f"--eval {evaluation}: arrays go with --metric FILE.py:NAME; give one, or a folder")
    if labels is not None:
        raise UserError(f"--labels {labels}: the targets are in --eval {evaluation}; leave the list out")
    open_targets(evaluation, "--eval")
    return evaluation


def open_judged(
    found: Classes | Path,
    preprocessing: Preprocessing,
    count: int,
    batch_size: int,
    seed: int,
    but: CalibrationData | None = None,
) -> CalibrationData:
    """At most `count` of the images that were named, with their targets; none is among those of `but`.

    Raises `UserError` where none is left.
    """
    if isinstance(found, Path):
        if isinstance(but, Arrays) and but.array.path.samefile(found):
            raise UserError(f"--eval {found}: calibration uses images of the same file; give others to judge by")
        return TargetArrays(found, preprocessing, count, batch_size, seed, "--eval")
    return found.photographs(preprocessing, count, batch_size, seed, but)


def with_targets(
    given: CalibrationData | Iterable[Any], signature: InputSignature, most: int, what: str = "held_out"
) -> CalibrationData:
    """What a caller gave to judge by, `(images, targets)` a batch, or images alone, as far as `most` images need.

    Images are `[N, ...]`, a tuple of them for a model of several inputs, or a list `[C, H, W]` each for one that takes
    that. Raises `UserError` naming the batch that is none of these.
    """
    if isinstance(given, CalibrationData):
        return given
    pairs, images = list[Pair](), 0
    for number, item in enumerate([given] if isinstance(given, Tensor) else given, 1):
        inputs, target = _split(item, signature)
        if not inputs or not all(isinstance(each, Tensor) and each.ndim and len(each) for each in inputs):
            wanted = "a tensor [N, ...]" if signature.count == 1 else f"a tuple of {signature.count} tensors"
            raise UserError(
                f"{what}: batch {number} is {_shown(item)}; give (images, targets), the images as {wanted}, or those "
                "alone"
            )
        pairs.append((inputs, target))
        images += len(inputs[0])
        if images >= most:
            break
    return TargetBatches(pairs)


def pairs(data: CalibrationData, count: int) -> Iterator[Pair]:
    """The first `count` images in batches with targets: class indices `[N]`, int64, where only those are known."""
    if isinstance(data, (TargetBatches, TargetArrays)):
        yield from data.pairs(count)
        return
    place = 0
    for batch in data.batches(count):
        end, labels = place + len(batch[0]), data.labels  # those of photographs are known once they have been read
        yield batch, None if labels is None else torch.tensor(list(labels[place:end]))
        place = end


def looked_at(data: CalibrationData, count: int) -> int:
    """How many images a metric sees where `count` are asked for: batches with targets of the user's stay whole."""
    whole = isinstance(data, TargetBatches)
    return sum(len(batch[0]) for batch, _ in pairs(data, count)) if whole else count


def _split(item: Any, signature: InputSignature) -> tuple[tuple[Any, ...], Any]:
    """The inputs of a batch and its target; no inputs where it is no batch."""
    if isinstance(item, Tensor):
        return (item,), None
    if not isinstance(item, (tuple, list)) or not item:
        return (), None
    if signature.as_list and (_is_images(item) or _is_images(item[0])):
        images, target = (item, None) if _is_images(item) else (item[0], item[1] if len(item) > 1 else None)
        return ((torch.stack(list(images)),) if len({image.shape for image in images}) == 1 else ()), target
    if len(item) <= 2 and isinstance(item[0], (tuple, list)):
        return (*_fitting(item[0], signature.count),), item[1] if len(item) > 1 else None
    if len(item) == signature.count + 1:
        return tuple(item[:-1]), item[-1]
    return _fitting(item, signature.count), None


def _fitting(tensors: Sequence[Any], count: int) -> tuple[Any, ...]:
    return tuple(tensors) if len(tensors) == count else ()


def _is_images(value: Any) -> bool:
    """Whether this is a list of images without N."""
    return isinstance(value, (tuple, list)) and all(isinstance(v, Tensor) and v.ndim == _IMAGE for v in value)


def _shown(item: Any) -> str:
    if isinstance(item, (tuple, list)):
        return f"a {type(item).__name__} of {', '.join(type(each).__name__ for each in item[:4]) or 'nothing'}"
    return f"of type {type(item).__name__}"
