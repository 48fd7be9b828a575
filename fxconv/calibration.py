"""Photographs or arrays to batches. Everything streams: a folder of any size needs the memory of one batch.

What one call of a network takes is a tuple of tensors, one for each of its inputs: one for most networks. Generated
images and photographs fill each with an image, or a clip.
"""

from __future__ import annotations

import copy
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fxconv import photographs
from fxconv.arrays import ArrayFile, open_array, open_arrays, split_name
from fxconv.errors import UserError
from fxconv.preprocessing import Preprocessing
from fxconv.synthetic import natural_images

# Unreadable photographs named one by one; the others are counted.
_NAMED = 5
# No preprocessed input reaches this: the most that any of torchvision's normalizations gives is below 5.
_BRIGHTEST = 20.0


class CalibrationData(ABC):
    """A source of input images that can be read more than once.

    `source` says in words what it is; `count` how many images it gives, in batches of `batch_size`; `skipped` how many
    were left out because they could not be read. All but `batch_size`, and `warnings`, may change while reading.
    """

    source: str
    count: int
    batch_size: int
    skipped: int = 0
    preprocessing: Preprocessing | None = None

    @property
    def warnings(self) -> list[str]:
        """What the user must know about the images read so far, a sentence each."""
        return []

    @abstractmethod
    def images(self) -> Iterator[tuple[Tensor, ...]]:
        """Float32 tensors, each input of the network without N (`[C, H, W]`), in the same order every time."""

    def images_from(self, skip: int) -> Iterator[tuple[Tensor, ...]]:
        """`images` without the first `skip`, which have been read before."""
        return islice(self.images(), skip, None)

    @property
    def labels(self) -> Sequence[int] | None:
        """The class index of each image, in their order, once they have been read; None when nothing says it."""
        return None

    @property
    def normalized_by(self) -> Preprocessing | None:
        """How fxconv made these tensors of pixels; None when they are somebody else's."""
        return self.preprocessing

    def normalized_as(self, how: Preprocessing) -> CalibrationData:
        """The same pixels, made into tensors otherwise; these tensors where `normalized_by` is None."""
        if self.normalized_by is None:
            return self
        others = copy.copy(self)
        others.preprocessing = how
        return others

    def others(self, count: int) -> CalibrationData | None:
        """At most `count` images of the same source that are not among these; None when there are none."""
        return None

    def batches(self, limit: int | None = None, skip: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Each input as a tensor `[N, ...]` of at most `batch_size` rows, those from `skip` to `limit`."""
        stream = islice(self.images_from(skip), None if limit is None else limit - skip)
        while batch := list(islice(stream, self.batch_size)):
            yield tuple(torch.stack(each) for each in zip(*batch, strict=True))

    def examples(self, count: int) -> list[tuple[Tensor, ...]]:
        """The first `count` rows, each a batch with N = 1."""
        return [tuple(each[None].contiguous() for each in row) for row in islice(self.images(), count)]


class Photographs(CalibrationData):
    """Photographs drawn at random, with a seed, from a folder and the folders in it.

    A photograph that cannot be read is left out, named and counted, and another of the folder is drawn in its place
    as long as there is one.
    """

    preprocessing: Preprocessing

    option, kind, purpose = "--calib", "photographs", "calibration"

    def __init__(
        self,
        folder: Path,
        preprocessing: Preprocessing,
        count: int,
        batch_size: int,
        seed: int,
        option: str | None = None,
    ) -> None:
        self._named(option or self.option)
        found, self._closed = photographs.find(folder)
        if not found:
            closed = "".join(f"; {name} could not be opened: {reason}" for name, reason in self._closed[:1])
            kinds = " ".join(sorted(s[1:] for s in photographs.SUFFIXES))
            raise UserError(
                f"{self.option} {folder}: no photographs in it{closed}; expected files of these kinds: {kinds}"
            )
        check_channels(preprocessing, f"{self.option} {folder}", "; give an .npy array of preprocessed inputs instead")
        self._draw(found, folder, preprocessing, count, batch_size, seed)

    def _named(self, option: str) -> None:
        """Keep the option that named the folder, and what is done with its photographs."""
        self.option, self.purpose = option, "training" if option == "--train" else self.purpose

    def _draw(
        self,
        found: list[Path],
        folder: Path,
        preprocessing: Preprocessing,
        count: int,
        batch_size: int,
        seed: int,
    ) -> None:
        """Choose `count` of the photographs `found`; the others are spares, in a drawn order too."""
        random_ = random.Random(seed)
        self.paths = random_.sample(found, min(count, len(found)))
        drawn = set(self.paths)
        self._spares = [path for path in found if path not in drawn]
        random_.shuffle(self._spares)
        self._held_out = 0  # so many of the spares, from the first, are judged by
        self._unreadable: list[tuple[str, str]] = []
        self.preprocessing, self.batch_size = preprocessing, batch_size
        self.found, self.folder, self.seed = len(found), folder, seed
        self._place = photographs.shown(folder, folder)
        self._count()

    def leave(self, others: Iterable[Path]) -> None:
        """Do without these photographs, which serve for something else. Raises `UserError` when none is left."""
        taken = {path.resolve() for path in others}
        self.paths = [path for path in self.paths if path.resolve() not in taken]
        self._spares = [path for path in self._spares if path.resolve() not in taken]
        if not self.paths:
            raise UserError(f"{self.option} {self._place}: all of its photographs serve to judge by; lower --held-out")
        self._count()

    def _count(self) -> None:
        self.count, self.skipped = len(self.paths), len(self._unreadable)
        left_out = f"; {self.skipped} could not be read" if self.skipped else ""
        self.source = f"{self.count} of {self.found} {self.kind} in {self._place}, seed {self.seed}{left_out}"

    @property
    def warnings(self) -> list[str]:
        folders = [f"the folder {name} was not searched for photographs: {why}" for name, why in self._closed]
        files = [f"{name} was left out of {self.purpose}: {why}" for name, why in self._unreadable]
        left_out = f"photographs were left out of {self.purpose}"
        return [*_few(folders, "folders were not searched"), *_few(files, left_out)]

    def images(self) -> Iterator[tuple[Tensor, ...]]:
        return self.images_from(0)

    def images_from(self, skip: int) -> Iterator[tuple[Tensor, ...]]:
        least = 2 * max(self.preprocessing.covered)
        position = skip  # what could not be read has left its place to another by then
        while position < len(self.paths):
            path = self.paths[position]
            try:
                image = photographs.read(path, self.preprocessing.mode, least)
            except photographs.UnreadablePhotograph as error:
                self._leave_out(position, error)
                continue
            yield self.preprocessing.inputs(image, position)
            position += 1

    def others(self, count: int) -> Photographs | None:
        """Photographs that were not drawn, the same ones whenever asked. None of them is a spare of these any more."""
        taken = self._spares[:count]
        if not taken:
            return None
        self._held_out = max(self._held_out, len(taken))
        others = copy.copy(self)
        others.paths, others._spares, others._unreadable, others._closed = taken, [], [], []
        others.purpose, others._held_out = "judging", 0
        others._count()
        return others

    def _leave_out(self, position: int, error: Exception) -> None:
        """Put a spare photograph at `position`, or close the gap: the order stays as it is for the next reading."""
        name = photographs.shown(self.paths[position], self.folder)
        self._unreadable.append((name, str(error)))
        if len(self._spares) > self._held_out:
            self.paths[position] = self._spares.pop()
        else:
            del self.paths[position]
        self._count()
        if not self.paths:
            first, reason = self._unreadable[0]
            raise UserError(
                f"{self.option} {self._place}: none of the photographs in it could be read ({self.skipped} tried); "
                f"the first is {first}: {reason}"
            )


def check_channels(preprocessing: Preprocessing, what: str, cure: str) -> None:
    """Raises `UserError` when photographs cannot fill the network's input."""
    if preprocessing.channels not in (1, 3):
        raise UserError(f"{what}: photographs cannot fill {preprocessing.channels} channels{cure}")


def _few(sentences: list[str], others: str) -> list[str]:
    """The first few sentences, and one that counts the rest."""
    more = len(sentences) - _NAMED
    return [*sentences[:_NAMED], f"{more} more {others}"] if more > 1 else sentences


class Arrays(CalibrationData):
    """Inputs from an .npy or .npz file: float `[N, C, H, W]`, preprocessed already, or uint8 pixels `[N, H, W, C]`.

    Of a network that takes clips, `[N, C, T, H, W]` or `[N, T, H, W, C]`.
    """

    preprocessing: Preprocessing

    def __init__(
        self, path: Path, preprocessing: Preprocessing, count: int, batch_size: int, option: str = "--calib"
    ) -> None:
        frames, time = ((), "") if preprocessing.frames is None else ((preprocessing.frames,), "T, ")
        self.array = open_array(path, option, ranks=(4 + len(frames),))
        name, shape, channels = self.array.name, self.array.shape, preprocessing.channels
        self.preprocessing, self.batch_size = preprocessing, batch_size
        self.is_pixels = self.array.dtype == np.uint8
        if len(shape) != 4 + len(frames) or 0 in shape:
            raise UserError(
                f"{option} {name}: shape {shape} is not [N, {channels}, {time}H, W] (float, preprocessed) "
                f"or [N, {time}H, W, {channels}] (uint8 pixels) with N at least 1"
            )
        found = shape[-1 if self.is_pixels else 1]
        if found != channels:
            expected = f"[N, {time}H, W, C]" if self.is_pixels else f"[N, C, {time}H, W]"
            other = shape[1 if self.is_pixels else -1] == channels
            cure = f"; transpose it to {expected}" if other else ""
            raise UserError(f"{option} {name}: {found} channels in shape {shape} read as {expected}; "
                            f"the network takes {channels}{cure}")  # fmt: skip
        height, width = shape[-3:-1] if self.is_pixels else shape[-2:]
        given = shape[1:-3] if self.is_pixels else shape[2:-2]
        if frames and given != frames:
            raise UserError(f"{option} {name}: clips of {given[0]} frames, the network's input has {frames[0]}; "
                            f"set --input-size, such as {channels}x{given[0]}x{height}x{width}")  # fmt: skip
        fits = (height, width) == (preprocessing.height, preprocessing.width)
        if not self.is_pixels and not fits:
            raise UserError(
                f"{option} {name}: images of {height}x{width}, the network's input is "
                f"{preprocessing.height}x{preprocessing.width}; preprocess them to that size or set --input-size"
            )
        if self.is_pixels and channels not in (1, 3) and not fits:
            raise UserError(
                f"{option} {name}: uint8 images of {channels} channels cannot be resized; give them as "
                f"[N, {time}{preprocessing.height}, {preprocessing.width}, {channels}]"
            )
        if self.is_pixels and height * width > photographs.MOST_PIXELS:
            most = f"{photographs.MOST_PIXELS:,}"
            raise UserError(f"{option} {name}: images of {height}x{width}; at most {most} pixels an image are read")
        self.start, self.count = 0, min(count, shape[0])
        kind = "uint8 images" if self.is_pixels else "preprocessed arrays"
        self.source = f"first {self.count} of {shape[0]} {kind} in {name}"
        self._lowest, self._highest = math.inf, -math.inf

    @property
    def normalized_by(self) -> Preprocessing | None:
        return self.preprocessing if self.is_pixels else None

    @property
    def warnings(self) -> list[str]:
        if self._lowest < 0 or self._highest <= _BRIGHTEST:
            return []
        return [
            f"{self.array.name} holds values from {self._lowest:g} to {self._highest:g}, as pixels have before they "
            "are preprocessed, and float arrays are used as they are: scale and normalize them, or save the pixels as "
            "uint8 [N, H, W, C]"
        ]

    def others(self, count: int) -> Arrays | None:
        """The rows behind these."""
        others = copy.copy(self)
        others.start, others.count = self.start + self.count, min(count, self.array.shape[0] - self.start - self.count)
        others.source = f"the next {others.count} rows of {self.array.name}"
        return others if others.count > 0 else None

    def images(self) -> Iterator[tuple[Tensor, ...]]:
        rows = enumerate(self.array.rows(self.start + self.count))
        for index, row in islice(rows, self.start, None):
            if not self.is_pixels:
                values = _float_row(self.array, index, row)
                self._lowest = min(self._lowest, float(values.min()))
                self._highest = max(self._highest, float(values.max()))
                yield (values,)
            elif self.preprocessing.frames is None:
                yield (self.preprocessing.pixels(row),)
            else:
                yield (torch.stack([self.preprocessing.pixels(frame) for frame in row], dim=1),)


def _float_row(array: ArrayFile, index: int, row: npt.NDArray[Any]) -> Tensor:
    with np.errstate(over="ignore"):  # a float64 beyond float32 is infinite, and told below
        values = row.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{array.option} {array.name}: row {index} holds values that are not finite (NaN or infinite)")
    return torch.from_numpy(np.ascontiguousarray(values))


class NamedArrays(CalibrationData):
    """Inputs of a network that takes several: one float array `[N, ...]` for each, from an .npz file.

    `option` is the command-line option that named the file. The arrays are named as the parameters of the network's
    forward, or stand in their order. When one of them has the shape `image`, they are a single row, without N.
    """

    def __init__(
        self,
        path: Path,
        names: tuple[str, ...],
        image: tuple[int, ...],
        count: int,
        batch_size: int,
        option: str = "--calib",
    ) -> None:
        self.arrays = open_arrays(path, names, option)
        shapes = [array.shape for array in self.arrays]
        self._is_row = image in shapes
        rows = {shape[:1] for shape in shapes}
        if any(0 in shape or not shape for shape in shapes) or (len(rows) > 1 and not self._is_row):
            listed = ", ".join(f"{array.member} {array.shape}" for array in self.arrays)
            raise UserError(f"{option} {path}: the arrays must hold the same number of rows, [N, ...]: {listed}")
        self.shapes = shapes if self._is_row else [shape[1:] for shape in shapes]
        self.found = found = 1 if self._is_row else shapes[0][0]
        self.start = 0
        self.count, self.batch_size = min(count, found), batch_size
        members = ", ".join(str(array.member) for array in self.arrays)
        self.source = f"first {self.count} of {found} rows of {members} in {path}"
        self._where = f"{members} in {path}"
        if option == "--example":
            self.source += f" ({option}), for images cannot fill all inputs"

    def others(self, count: int) -> NamedArrays | None:
        """The rows behind these."""
        others = copy.copy(self)
        others.start, others.count = self.start + self.count, min(count, self.found - self.start - self.count)
        others.source = f"the next {others.count} rows of {self._where}"
        return others if others.count > 0 else None

    def images(self) -> Iterator[tuple[Tensor, ...]]:
        if self._is_row:
            yield tuple(_float_row(array, 0, np.stack(list(array.rows(array.shape[0])))) for array in self.arrays)
            return
        rows = zip(*(array.rows(self.start + self.count) for array in self.arrays), strict=True)
        for index, row in islice(enumerate(rows), self.start, None):
            yield tuple(_float_row(array, index, values) for array, values in zip(self.arrays, row, strict=True))


class Generated(CalibrationData):
    """Generated images with natural statistics."""

    preprocessing: Preprocessing

    def __init__(self, preprocessing: Preprocessing, count: int, batch_size: int, seed: int) -> None:
        self.preprocessing, self.count, self.batch_size, self.seed = preprocessing, count, batch_size, seed
        self.source = f"{count} generated images (1/f noise and dead leaves, seed {seed}), no photographs"

    @property
    def warnings(self) -> list[str]:
        return ["calibrated on generated images; photographs (--calib DIR) give better ranges"]

    def others(self, count: int) -> Generated:
        """Images of the next seed."""
        return Generated(self.preprocessing, count, self.batch_size, self.seed + 1)

    def images(self) -> Iterator[tuple[Tensor, ...]]:
        wanted = self.preprocessing
        height, width = (wanted.height, wanted.width) if wanted.is_still else wanted.covered
        for index, array in enumerate(natural_images(self.count, height, width, wanted.channels, self.seed)):
            if wanted.is_still:
                yield (wanted.pixels(array),)
            else:
                yield wanted.moving(torch.from_numpy(array).permute(2, 0, 1), index)


class Batches(CalibrationData):
    """Floating-point tensors `[N, ...]` given from Python; each is used as one batch, as float32.

    For a network of several inputs a batch is a tuple or list of tensors, one for each, of the same N.
    """

    def __init__(self, batches: Iterable[Tensor | Sequence[Tensor]]) -> None:
        # A lone tensor is one batch, not many; and a one-shot iterator must be kept.
        listed = [batches] if isinstance(batches, Tensor) else list(batches)
        given = [tuple(batch) if isinstance(batch, (tuple, list)) else (batch,) for batch in listed]
        if (
            not given
            or not all(given)
            or not all(isinstance(t, Tensor) and t.ndim and len(t) for b in given for t in b)
        ):
            raise ValueError("calibration needs at least one tensor [N, ...] with N at least 1")
        if not all(tensor.is_floating_point() for batch in given for tensor in batch):
            raise ValueError(
                "the calibration tensors hold integers; give float32, preprocessed as the network's inputs"
            )
        if any(len(tensor) != len(batch[0]) for batch in given for tensor in batch):
            raise ValueError("the tensors of one calibration batch are of different N; a batch is one tensor an input")
        self._batches = [tuple(tensor.detach().float() for tensor in batch) for batch in given]
        if not all(tensor.isfinite().all() for batch in self._batches for tensor in batch):
            raise ValueError("the calibration tensors hold values that are not finite (NaN or infinite)")
        self.count = sum(len(batch[0]) for batch in self._batches)
        self.batch_size = max(len(batch[0]) for batch in self._batches)
        self.source = f"{self.count} tensors given from Python"

    def images(self) -> Iterator[tuple[Tensor, ...]]:
        for batch in self._batches:
            yield from zip(*batch, strict=True)

    def batches(self, limit: int | None = None, skip: int = 0) -> Iterator[tuple[Tensor, ...]]:
        place, end = 0, self.count if limit is None else limit
        for batch in self._batches:
            kept = slice(max(skip - place, 0), max(end - place, 0))
            place += len(batch[0])
            if kept.start < kept.stop and kept.start < len(batch[0]):
                yield tuple(tensor[kept] for tensor in batch)


def as_data(given: CalibrationData | Iterable[Tensor | Sequence[Tensor]]) -> CalibrationData:
    """What a caller gave as images: itself, or the tensors of batches."""
    return given if isinstance(given, CalibrationData) else Batches(given)


def open_calibration(
    path: Path | None,
    preprocessing: Preprocessing,
    count: int,
    batch_size: int,
    seed: int,
    names: tuple[str, ...] = ("x",),
    option: str = "--calib",
) -> CalibrationData:
    """The calibration source a path names: a folder, an array file, or generated images when there is no path.

    `names` are those of the network's inputs, `option` the one that named the path. Raises `UserError` when the path
    gives nothing the network can take.
    """
    if path is None:
        return Generated(preprocessing, count, batch_size, seed)
    if not split_name(path)[0].exists():
        raise UserError(f"{option} {path}: no such file or folder")
    if path.is_dir():
        return Photographs(path, preprocessing, count, batch_size, seed, option)
    if len(names) > 1:
        return NamedArrays(path, names, preprocessing.shape, count, batch_size, option)
    return Arrays(path, preprocessing, count, batch_size, option)


@dataclass(frozen=True)
class Calibration:
    """What the ranges were estimated on: in words, how many images, and what it cost.

    `skipped` photographs could not be read. `seconds` is the observed forward alone, without reading images;
    `float_seconds` the plain float forward of as many images, from the time of one batch.
    """

    source: str
    images: int
    seconds: float
    float_seconds: float
    skipped: int = 0

    def beside(self, plain: Calibration) -> Calibration:
        """With the float forward as `plain` timed it."""
        per_image = plain.float_seconds / plain.images if plain.images else 0.0
        return replace(self, float_seconds=per_image * self.images)
