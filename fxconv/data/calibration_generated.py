"""Generated images as calibration data, for when there are no photographs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fxconv.data.calibration import CalibrationData
from fxconv.data.synthetic import natural_images
from fxconv.models.preprocessing import Preprocessing
from fxconv.wording import counted


class Generated(CalibrationData):
    """Generated images with natural statistics."""

    preprocessing: Preprocessing

    def __init__(self, preprocessing: Preprocessing, count: int, batch_size: int, seed: int) -> None:
        self.preprocessing, self.count, self.batch_size, self.seed = preprocessing, count, batch_size, seed
        self.source = f"{counted(count, 'generated image')} (1/f noise and dead leaves, seed {seed}), no photographs"

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
