"""Arrays of pixels or preprocessed inputs as calibration data, row by row."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fxconv.data import photographs
from fxconv.data.arrays import ArrayFile, open_array, open_arrays, open_indices
from fxconv.data.calibration import CalibrationData
from fxconv.data.digests import file_digest
from fxconv.errors import UserError
from fxconv.models.preprocessing import Preprocessing
from fxconv.wording import counted

# No preprocessed input reaches this: the most that any of torchvision's normalizations gives is below 5.
_BRIGHTEST = 20.0


_Rows = TypeVar("_Rows", bound="DrawnRows")


class DrawnRows(CalibrationData):
    """Rows drawn at random, with a seed, from those of a file; what is left over is in a drawn order, too."""

    def _draw(self, found: int, count: int, seed: int | None) -> None:
        """Choose `count` of the rows `found`, or without a seed the first ones."""
        order = list(range(found)) if seed is None else random.Random(seed).sample(range(found), found)
        self.places, self._spares = order[:count], order[count:]
        self.found, self.count = found, len(self.places)
        self.seed = seed

    def _told(self, what: str, where: str) -> str:
        """The source in words."""
        shown = f"{self.count} of {self.found} {what} {where}"
        return f"first {shown}" if self.seed is None else f"{shown}, seed {self.seed}"

    def _others(self: _Rows, count: int, where: str) -> _Rows | None:
        """At most `count` of the rows that were not chosen, always the same ones."""
        others = copy.copy(self)
        others.places, others._spares = self._spares[:count], []
        others.count = len(others.places)
        others.source = f"{counted(others.count, 'other row')} of {where}"
        return others if others.count else None


class Arrays(DrawnRows):
    """Inputs from an .npy or .npz file: float `[N, C, H, W]`, preprocessed already, or uint8 pixels `[N, H, W, C]`.

    Of a network that takes clips, `[N, C, T, H, W]` or `[N, T, H, W, C]`.
    """

    preprocessing: Preprocessing

    def __init__(
        self,
        path: Path,
        preprocessing: Preprocessing,
        count: int,
        batch_size: int,
        seed: int | None = None,
        option: str = "--calib",
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
            raise UserError(f"{option} {name}: {counted(found, 'channel')} in shape {shape} read as {expected}; "
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
        self._draw(shape[0], count, seed)
        self.source = self._told("uint8 images in" if self.is_pixels else "preprocessed arrays in", name)
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

    def digest(self) -> str:
        return file_digest(self.array.path)

    def others(self, count: int) -> Arrays | None:
        """Rows that were not drawn."""
        return self._others(count, self.array.name)

    def images(self) -> Iterator[tuple[Tensor, ...]]:
        return self.images_from(0)

    def images_from(self, skip: int) -> Iterator[tuple[Tensor, ...]]:
        places = self.places[skip:]
        for index, row in zip(places, self.array.at(places), strict=True):
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


def _row(array: ArrayFile, index: int, row: npt.NDArray[Any]) -> Tensor:
    """A row as the network takes it: float32, or the whole numbers or truth values that it is."""
    if np.issubdtype(array.dtype, np.floating):
        return _float_row(array, index, row)
    return torch.from_numpy(np.array(row))  # a copy: what is read is read-only


class NamedArrays(DrawnRows):
    """Inputs of a network that takes several: one array `[N, ...]` for each, from an .npz file.

    They hold floats, preprocessed, indices or truth values. A network that takes nothing but indices gets its one array
    so, too, from either kind of file. `option` is the command-line option that named the file. The arrays are named as
    the parameters of the network's forward, or stand in their order. When one of them has the shape `image`, they are a
    single row, without N.
    """

    def __init__(
        self,
        path: Path,
        names: tuple[str, ...],
        image: tuple[int, ...],
        count: int,
        batch_size: int,
        seed: int | None = None,
        option: str = "--calib",
    ) -> None:
        self.arrays = open_arrays(path, names, option) if len(names) > 1 else (open_indices(path, option),)
        shapes = [array.shape for array in self.arrays]
        self._is_row = image in [array.shape for array in self.arrays if np.issubdtype(array.dtype, np.floating)]
        rows = {shape[:1] for shape in shapes}
        if any(0 in shape or not shape for shape in shapes) or (len(rows) > 1 and not self._is_row):
            listed = ", ".join(f"{array.member} {array.shape}" for array in self.arrays)
            raise UserError(f"{option} {path}: the arrays must hold the same number of rows, [N, ...]: {listed}")
        self.shapes = shapes if self._is_row else [shape[1:] for shape in shapes]
        self.dtypes = [array.dtype for array in self.arrays]
        self._draw(1 if self._is_row else shapes[0][0], count, seed)
        self.batch_size = batch_size
        members = ", ".join(str(array.member) for array in self.arrays if array.member)
        self._where = f"{members} in {path}" if members else str(path)
        self.source = self._told("rows of", self._where)
        if option == "--example":
            self.source += f" ({option}), for images cannot fill all inputs"

    def digest(self) -> str:
        return file_digest(self.arrays[0].path)

    def others(self, count: int) -> NamedArrays | None:
        """Rows that were not drawn."""
        return self._others(count, self._where)

    def images(self) -> Iterator[tuple[Tensor, ...]]:
        return self.images_from(0)

    def images_from(self, skip: int) -> Iterator[tuple[Tensor, ...]]:
        places = self.places[skip:]
        if self._is_row and places:
            yield tuple(_row(array, 0, np.stack(list(array.rows(array.shape[0])))) for array in self.arrays)
            return
        rows = zip(*(array.at(places) for array in self.arrays), strict=True)
        for index, row in zip(places, rows, strict=True):
            yield tuple(_row(array, index, values) for array, values in zip(self.arrays, row, strict=True))
