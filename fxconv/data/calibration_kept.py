"""Images that a loader, a dataset or a list gives, as calibration data: what was taken is kept.

A loader that shuffles gives others every time, and one that augments other versions of them: kept, they are the same in
every pass, and no more of them are held than were taken.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fxconv.data.batch_items import Items, Row
from fxconv.data.calibration import CalibrationData
from fxconv.errors import UserError
from fxconv.models.preprocessing import Preprocessing

# No preprocessed input reaches this: the most that any of torchvision's normalizations gives is below 5.
_BRIGHTEST = 20.0


class _Pool:
    """The rows taken so far, and where more come from. All are of the first one's sizes."""

    def __init__(self, stream: Iterator[Row], what: str) -> None:
        self.rows: list[Row] = []
        self._stream, self._what = stream, what

    def fill(self, count: float) -> None:
        """Take rows until there are `count`, or no more."""
        while len(self.rows) < count and (row := next(self._stream, None)) is not None:
            first = self.rows[0] if self.rows else row
            if [each.shape for each in row.inputs] != [each.shape for each in first.inputs]:
                was, now = ("x".join(map(str, one.inputs[0].shape)) for one in (first, row))
                raise UserError(
                    f"{self._what}: images of {was} and of {now}; give them in one size, or as PIL images or uint8 "
                    "arrays, which are resized"
                )
            self.rows.append(row)


class KeptImages(CalibrationData):
    """The first `count` images of a stream, all of it with None; those behind them are its `others`.

    `words` say what they are, with `{count} {images}` for how many there are.
    """

    def __init__(
        self, stream: Iterator[Row], items: Items, count: int | None, batch_size: int, words: str, more: bool = True
    ) -> None:
        self._pool, self._items, self.batch_size, self._words, self._more = (
            _Pool(stream, items.what),
            items,
            batch_size,
            words,
            more,
        )
        self._pool.fill(math.inf if count is None else count)
        self._take(0, len(self._pool.rows) if count is None else count)
        if not self.count:
            raise UserError(f"{items.what}: gives no images; give one at least")

    def _take(self, start: int, count: int) -> None:
        self._rows = self._pool.rows[start : start + count]
        self._end, self.count = start + count, len(self._rows)
        key = f"; of each dict the key {self._items.key}" if self._items.key else ""
        pixels = f"; pixels made inputs by {self._items.expected.preprocessing.source}" if self._items.pixels else ""
        one = self.count == 1
        nouns = {"images": "image" if one else "images", "others": "other" if one else "others"}
        self.source = self._words.format(count=self.count, **nouns) + key + pixels

    def images(self) -> Iterator[tuple[Tensor, ...]]:
        return (row.inputs for row in self._rows)

    def images_from(self, skip: int) -> Iterator[tuple[Tensor, ...]]:
        return (row.inputs for row in self._rows[skip:])

    @property
    def labels(self) -> Sequence[int] | None:
        found = [row.label for row in self._rows if row.label is not None]
        return found if len(found) == len(self._rows) else None

    @property
    def normalized_by(self) -> Preprocessing | None:
        return self._items.expected.preprocessing if self._items.pixels else None

    def normalized_as(self, how: Preprocessing) -> CalibrationData:
        was = self.normalized_by
        if was is None or not (was.says_values and how.says_values):  # what a function made of pixels is final
            return self
        others = copy.copy(self)
        others._rows = [Row(tuple(_again(each, was, how) for each in row.inputs), row.label) for row in self._rows]
        return others

    @property
    def warnings(self) -> list[str]:
        values = [row.inputs[0] for row in self._rows if row.inputs[0].is_floating_point()]
        if not values or self._items.pixels:
            return []
        lowest, highest = min(float(each.min()) for each in values), max(float(each.max()) for each in values)
        if lowest < 0 or highest <= _BRIGHTEST:
            return []
        return [
            f"{self._items.what} holds values from {lowest:g} to {highest:g}, as pixels have before they are "
            "preprocessed, and float tensors are used as they are: scale and normalize them, or give uint8 pixels"
        ]

    def others(self, count: int) -> KeptImages | None:
        """The images behind these: of a shuffled source any."""
        if not self._more:
            return None
        self._pool.fill(self._end + count)
        if len(self._pool.rows) <= self._end:
            return None
        others = copy.copy(self)
        of = self._words.partition(" ")[2].format(images="images", others="others")
        others._words = f"{{count}} {{others}}: {of}"
        others._take(self._end, count)
        return others


def _again(values: Tensor, was: Preprocessing, how: Preprocessing) -> Tensor:
    """The same pixels, normalized otherwise."""
    shape = (-1, *[1] * (values.ndim - 1))
    mean, std = (torch.tensor(each).view(shape) for each in (was.mean, was.std))
    other, deviation = (torch.tensor(each).view(shape) for each in (how.mean, how.std))
    pixels = ((values * std + mean) / was.scale).round()
    return (pixels * how.scale - other) / deviation
