"""Calibration data: whatever gives images, in batches. Everything streams: any number needs the memory of one batch."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from fxconv.errors import ValuesError
from fxconv.models.preprocessing import Preprocessing
from fxconv.wording import counted


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

    def digest(self) -> str:
        """SHA-256 of what decides these images and those behind them; "" where the choices alone decide it."""
        return ""

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


# What an input holds that is no image: class indices or tokens, and masks.
_WHOLE = (torch.int64, torch.int32, torch.bool)
# A lone tensor of more dims than `[N, T]` is an image whoever gave it, and no row of tokens.
_MOST_DIMS_OF_INDICES = 2


class Batches(CalibrationData):
    """Tensors `[N, ...]` given from Python; each is used as one batch, of floating-point numbers as float32.

    For a network of several inputs a batch is a tuple or list of tensors, one for each, of the same N. Indices and
    truth values (int64, int32, bool) stay what they are, beside others or as rows `[N]` and `[N, T]`.
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
            raise ValuesError("calibration needs at least one tensor [N, ...] with N at least 1")
        if not all(tensor.is_floating_point() or _may_be_whole(tensor, batch) for batch in given for tensor in batch):
            raise ValuesError(
                "the calibration tensors hold integers; give float32, preprocessed as the network's inputs"
            )
        if any(len(tensor) != len(batch[0]) for batch in given for tensor in batch):
            raise ValuesError("the tensors of one calibration batch are of different N; a batch is one tensor an input")
        self._batches = [tuple(map(_as_taken, batch)) for batch in given]
        if not all(tensor.isfinite().all() for batch in self._batches for tensor in batch):
            raise ValuesError("the calibration tensors hold values that are not finite (NaN or infinite)")
        self.count = sum(len(batch[0]) for batch in self._batches)
        self.batch_size = max(len(batch[0]) for batch in self._batches)
        self.source = f"{counted(self.count, 'tensor')} given from Python"

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


def _may_be_whole(tensor: Tensor, batch: Sequence[Tensor]) -> bool:
    """Whether whole numbers or truth values may be what an input takes, and no image that was not preprocessed."""
    return tensor.dtype in _WHOLE and (len(batch) > 1 or tensor.ndim <= _MOST_DIMS_OF_INDICES)


def _as_taken(tensor: Tensor) -> Tensor:
    return tensor.detach().float() if tensor.is_floating_point() else tensor.detach()


def as_data(given: CalibrationData | Iterable[Tensor | Sequence[Tensor]]) -> CalibrationData:
    """What a caller gave as images: itself, or the tensors of batches."""
    return given if isinstance(given, CalibrationData) else Batches(given)


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
