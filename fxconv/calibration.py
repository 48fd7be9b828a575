"""Photographs or arrays to batches. Everything streams: a folder of any size needs the memory of one batch."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fxconv.errors import UserError
from fxconv.preprocessing import Preprocessing
from fxconv.synthetic import natural_images

PHOTOGRAPH_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})


class CalibrationData(ABC):
    """A source of input images that can be read more than once.

    `source` says in words what it is; `count` how many images it gives. `warnings` grows while reading.
    """

    source: str
    count: int
    batch_size: int

    def __init__(self) -> None:
        self.warnings: list[str] = []

    @abstractmethod
    def images(self) -> Iterator[Tensor]:
        """Float32 tensors `[C, H, W]`, in the same order every time."""

    def batches(self, limit: int | None = None) -> Iterator[Tensor]:
        """Tensors `[N, C, H, W]` of at most `batch_size` images, `limit` images in all."""
        stream = islice(self.images(), limit)
        while batch := list(islice(stream, self.batch_size)):
            yield torch.stack(batch)

    def first(self, count: int) -> Tensor:
        """The first `count` images as one batch `[N, C, H, W]`."""
        return torch.stack(list(islice(self.images(), count)))


class Photographs(CalibrationData):
    """Photographs drawn at random, with a seed, from a folder and the folders in it."""

    def __init__(self, folder: Path, preprocessing: Preprocessing, count: int, batch_size: int, seed: int) -> None:
        super().__init__()
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTOGRAPH_SUFFIXES and p.is_file())
        if not found:
            kinds = " ".join(sorted(s[1:] for s in PHOTOGRAPH_SUFFIXES))
            raise UserError(f"--calib {folder}: no photographs in it; expected files of these kinds: {kinds}")
        if preprocessing.channels not in (1, 3):
            raise UserError(
                f"--calib {folder}: photographs cannot fill {preprocessing.channels} channels; "
                "give an .npy array of preprocessed inputs instead"
            )
        self.paths = random.Random(seed).sample(found, min(count, len(found)))
        self.preprocessing, self.batch_size = preprocessing, batch_size
        self.count = len(self.paths)
        self.found, self.folder, self.seed = len(found), folder, seed
        self.source = self._described()
        self._unreadable: set[Path] = set()

    def _described(self) -> str:
        return f"{self.count} of {self.found} photographs in {self.folder}, seed {self.seed}"

    def images(self) -> Iterator[Tensor]:
        for path in self.paths:
            if path in self._unreadable:
                continue
            try:
                with Image.open(path) as image:
                    tensor = self.preprocessing.photograph(image)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # SyntaxError: PNG
                self._unreadable.add(path)
                self.count -= 1
                self.source = self._described()
                self.warnings.append(f"{path.relative_to(self.folder)} was left out of calibration: {error}")
                if not self.count:
                    raise UserError(
                        f"none of the {len(self.paths)} photographs drawn could be read: {error}"
                    ) from error
                continue
            yield tensor


class Arrays(CalibrationData):
    """Inputs from an .npy file: float `[N, C, H, W]`, preprocessed already, or uint8 pixels `[N, H, W, C]`."""

    def __init__(self, path: Path, preprocessing: Preprocessing, count: int, batch_size: int) -> None:
        super().__init__()
        self.array = read_array(path, "--calib")
        self.preprocessing, self.batch_size = preprocessing, batch_size
        self.is_pixels = self.array.dtype == np.uint8
        channels = preprocessing.channels
        if self.array.ndim != 4 or not len(self.array):
            raise UserError(
                f"--calib {path}: shape {self.array.shape} is not [N, {channels}, H, W] (float, preprocessed) "
                f"or [N, H, W, {channels}] (uint8 pixels) with N at least 1"
            )
        found = self.array.shape[3 if self.is_pixels else 1]
        expected = "[N, H, W, C]" if self.is_pixels else "[N, C, H, W]"
        if found != channels:
            raise UserError(f"--calib {path}: {found} channels in shape {self.array.shape} read as {expected}; "
                            f"the network takes {channels}")  # fmt: skip
        if not self.is_pixels and self.array.shape[2:] != (preprocessing.height, preprocessing.width):
            raise UserError(
                f"--calib {path}: images of {self.array.shape[2]}x{self.array.shape[3]}, the network's input is "
                f"{preprocessing.height}x{preprocessing.width}; preprocess them to that size or set --input-size"
            )
        if self.is_pixels and channels not in (1, 3) and self.array.shape[1:3] != preprocessing.shape[1:]:
            raise UserError(
                f"--calib {path}: uint8 images of {channels} channels cannot be resized; give them as "
                f"[N, {preprocessing.height}, {preprocessing.width}, {channels}]"
            )
        self.path, self.count = path, min(count, len(self.array))
        kind = "uint8 images" if self.is_pixels else "preprocessed arrays"
        self.source = f"first {self.count} of {len(self.array)} {kind} in {path}"

    def images(self) -> Iterator[Tensor]:
        for index, row in enumerate(self.array[: self.count]):
            if self.is_pixels:
                yield self.preprocessing.pixels(row)
            elif not np.isfinite(row).all():
                raise UserError(f"--calib {self.path}: row {index} holds values that are not finite (NaN or infinite)")
            else:
                yield torch.from_numpy(np.array(row, dtype=np.float32))  # a copy: the file is mapped read-only


class Generated(CalibrationData):
    """Generated images with natural statistics."""

    def __init__(self, preprocessing: Preprocessing, count: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.preprocessing, self.count, self.batch_size, self.seed = preprocessing, count, batch_size, seed
        self.source = f"{count} generated images (1/f noise and dead leaves, seed {seed}), no photographs"
        self.warnings.append("calibrated on generated images; photographs (--calib DIR) give better ranges")

    def images(self) -> Iterator[Tensor]:
        channels, height, width = self.preprocessing.shape
        for array in natural_images(self.count, height, width, channels, self.seed):
            yield self.preprocessing.pixels(array)


class Batches(CalibrationData):
    """Tensors `[N, C, H, W]` given from Python; each is used as one batch, as it came."""

    def __init__(self, batches: Iterable[Tensor]) -> None:
        super().__init__()
        # A lone tensor is one batch, not many; and a one-shot iterator must be kept.
        self._batches = [batches] if isinstance(batches, Tensor) else list(batches)
        if not self._batches or not all(isinstance(b, Tensor) and b.ndim >= 1 and len(b) for b in self._batches):
            raise ValueError("calibration needs at least one tensor [N, ...] with N at least 1")
        if not all(batch.isfinite().all() for batch in self._batches):
            raise ValueError("the calibration tensors hold values that are not finite (NaN or infinite)")
        self.count = sum(len(batch) for batch in self._batches)
        self.batch_size = max(len(batch) for batch in self._batches)
        self.source = f"{self.count} tensors given from Python"

    def images(self) -> Iterator[Tensor]:
        for batch in self._batches:
            yield from batch

    def batches(self, limit: int | None = None) -> Iterator[Tensor]:
        left = self.count if limit is None else limit
        for batch in self._batches:
            if left > 0:
                yield batch[:left]
            left -= len(batch)


def read_array(path: Path, option: str) -> npt.NDArray[Any]:
    """An array from an .npy file, memory-mapped; nothing is unpickled. Raises `UserError` with what is wrong."""
    if path.suffix != ".npy":
        expected = "a folder of photographs or an .npy file" if option == "--calib" else "an .npy file"
        raise UserError(f"{option} {path}: expected {expected}, not {path.suffix or 'this'}")
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{option} {path}: not a readable .npy array ({error})") from error
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{option} {path}: values of type {array.dtype}; expected float32 or uint8")
    return array


def open_calibration(
    path: Path | None, preprocessing: Preprocessing, count: int, batch_size: int, seed: int
) -> CalibrationData:
    """The calibration source a path names: a folder, an .npy file, or generated images when there is no path."""
    if path is None:
        return Generated(preprocessing, count, batch_size, seed)
    if not path.exists():
        raise UserError(f"--calib {path}: no such file or folder")
    if path.is_dir():
        return Photographs(path, preprocessing, count, batch_size, seed)
    return Arrays(path, preprocessing, count, batch_size)


@dataclass(frozen=True)
class Calibration:
    """What the ranges were estimated on: in words, how many images, and what it cost.

    `seconds` is the observed forward alone, without reading images; `float_seconds` the plain float forward of as many
    images, from the time of one batch.
    """

    source: str
    images: int
    seconds: float
    float_seconds: float
