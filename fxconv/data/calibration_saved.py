"""The few images that a saved calibration keeps: those that its int8 module is held to its float model on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from fxconv.data.calibration import CalibrationData
from fxconv.models.preprocessing import Preprocessing


class SavedImages(CalibrationData):
    """Rows of tensors `[C, H, W]` that an earlier calibration kept; ranges come from all that it saw, and are kept."""

    def __init__(
        self, rows: Sequence[tuple[Tensor, ...]], source: str, preprocessing: Preprocessing | None = None
    ) -> None:
        self.rows, self.source, self.preprocessing = rows, source, preprocessing
        self.count, self.batch_size = len(rows), 1

    def images(self) -> Iterator[tuple[Tensor, ...]]:
        yield from self.rows

    def normalized_as(self, how: Preprocessing) -> SavedImages:
        return self
