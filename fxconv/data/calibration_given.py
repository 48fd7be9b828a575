"""What a caller in Python gives as images, opened: a loader, a dataset, a folder, arrays, pictures, tensors."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from fxconv.data import photographs
from fxconv.data.batch_items import Items, Row, class_indices
from fxconv.data.calibration import Batches, CalibrationData
from fxconv.data.calibration_generated import Generated
from fxconv.data.calibration_kept import KeptImages
from fxconv.data.calibration_sources import open_calibration
from fxconv.data.labels import LabelledBatches, read_classes
from fxconv.errors import ArgumentError
from fxconv.models.expected_input import ExpectedInput
from fxconv.wording import counted, with_article

_TAKEN = (
    "a DataLoader or Dataset, a folder of photographs or an .npy file, a tensor or array [N, C, H, W], uint8 pixels "
    "[N, H, W, C], a list of PIL images, or an iterable of batches"
)
# The option that stands for each keyword, for messages that name a file.
_OPTIONS = {"calibration": "--calib", "held_out": "--eval", "training": "--train"}


@dataclass(frozen=True)
class Wanted:
    """What is made of what is given: inputs as `expected`, at most `count` images of a loader or dataset, None for all.

    `what` is the keyword, `seed` draws from a dataset. With `labelled` a folder has a folder for each class; with None
    it may.
    """

    expected: ExpectedInput
    count: int | None
    batch_size: int
    seed: int
    what: str = "calibration"
    labelled: bool | None = None


def open_given(given: Any, wanted: Wanted) -> CalibrationData:
    """Calibration data from whatever holds images.

    Of a loader or a dataset no more are taken than are wanted, and those are kept; what is given as tensors, arrays or
    a list is used whole. Raises `UserError`, which is a `TypeError` as well for what is nothing of the kind.
    """
    if isinstance(given, CalibrationData):
        return given
    if isinstance(given, (str, Path)):
        return _named(Path(given).expanduser(), wanted)
    items = Items(wanted.expected, wanted.what)
    if isinstance(given, DataLoader):
        return _first_of(given, len_of(given.dataset), "a DataLoader", items, wanted)
    if isinstance(given, IterableDataset):
        return _first_of(given, len_of(given), with_article(type(given).__name__), items, wanted, is_sample=True)
    if isinstance(given, Dataset) or _is_like_a_dataset(given):
        return _drawn_of(given, items, wanted)
    if isinstance(given, np.ndarray) and given.dtype != np.uint8:
        given = (
            list(torch.from_numpy(np.ascontiguousarray(given)).split(wanted.batch_size)) if given.ndim > 3 else given
        )
    if isinstance(given, (Tensor, np.ndarray, Mapping)) or hasattr(given, "convert"):  # a PIL image
        given = [given]
    if not isinstance(given, Iterable):
        raise ArgumentError(f"{wanted.what}: type {type(given).__name__} is not taken; give {_TAKEN}")
    return _listed(list(given), items, wanted)


def _named(path: Path, wanted: Wanted) -> CalibrationData:
    """A folder or an array file, as the command line opens them."""
    how, names, option = wanted.expected.preprocessing, wanted.expected.signature.names, _OPTIONS[wanted.what]
    count = wanted.count if wanted.count is not None else 2**31
    if path.is_dir() and (wanted.labelled or (wanted.labelled is None and _has_classes(path))):
        classes = read_classes(path, None, option)
        assert classes is not None
        return classes.photographs(how, count, wanted.batch_size, wanted.seed)
    return open_calibration(path, how, count, wanted.batch_size, wanted.seed, names, option)


def _has_classes(folder: Path) -> bool:
    """Whether all photographs of a folder lie in the folders in it, one for each class."""
    found, _ = photographs.find(folder)
    return bool(found) and all(path.parent != folder for path in found)


def generated(expected: ExpectedInput, count: int, batch_size: int, seed: int) -> CalibrationData:
    """Generated images, for when nothing is given; the example itself for inputs that are no images."""
    if expected.is_of_images or expected.example is None:
        return Generated(expected.preprocessing, count, batch_size, seed)
    return _Example([expected.signature.tensors(expected.example)])


class _Example(Batches):
    """The example's own rows, for want of others."""

    @property
    def warnings(self) -> list[str]:
        return ["calibrated on example_inputs alone, for no calibration was given; more inputs give better ranges"]


def len_of(dataset: Any) -> int | None:
    """How many a dataset has, where it says so."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        return None


def _is_like_a_dataset(given: Any) -> bool:
    """Whether it gives samples by number, and is no container of Python's: other packages have datasets as well."""
    if isinstance(given, (Tensor, np.ndarray, list, tuple, Mapping, set, frozenset, bytes)):
        return False
    return hasattr(given, "__getitem__") and hasattr(given, "__len__") and not hasattr(given, "convert")


def _first_of(
    given: Iterable[Any], length: int | None, kind: str, items: Items, wanted: Wanted, is_sample: bool = False
) -> KeptImages:
    def stream() -> Iterator[Row]:
        for item in given:
            yield from items.rows(item, is_sample)

    among = f"of {counted(length, 'image')}" if length is not None else "{images}"
    return KeptImages(stream(), items, wanted.count, wanted.batch_size, f"{{count}} {among} of {kind}, the first")


def _drawn_of(given: Any, items: Items, wanted: Wanted) -> KeptImages:
    """Samples drawn at random, with the seed: many datasets are sorted by class."""
    length = len(given)

    def stream() -> Iterator[Row]:
        for place in random.Random(wanted.seed).sample(range(length), length):
            yield from items.rows(given[place], is_sample=True)

    words = f"{{count}} of {counted(length, 'image')} of {with_article(type(given).__name__)}, seed {wanted.seed}"
    return KeptImages(stream(), items, wanted.count, wanted.batch_size, words)


def _listed(given: list[Any], items: Items, wanted: Wanted) -> CalibrationData:
    """All of a list: batches of tensors as they are, images and pixels one by one."""
    for item in given:
        if isinstance(item, (str, Path)):
            raise ArgumentError(
                f"{wanted.what}: a list of paths is not taken; give the folder they are in, or PIL images"
            )
    apart = [items.apart(item) for item in given]
    expected = wanted.expected
    if all(isinstance(v, Tensor) and v.dtype != torch.uint8 for inputs, _ in apart for v in inputs) and not any(
        expected.is_single(inputs[0]) for inputs, _ in apart
    ):
        batches = [inputs for inputs, _ in apart]
        labels = [class_indices(beside, len(inputs[0])) for inputs, beside in apart if inputs[0].ndim]
        known = [index for each in labels if each is not None for index in each]
        data = Batches(batches)
        data = LabelledBatches(batches, known) if len(known) == data.count else data
        data.source += f"; of each dict the key {items.key}" if items.key else ""
        return data

    def stream() -> Iterator[Row]:
        for item in given:
            yield from items.rows(item)

    return KeptImages(stream(), items, None, wanted.batch_size, "{count} {images} given from Python", more=False)
