"""How like the float model's answers another module's are, added up image by image so that none is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from fxconv.measures.output_comparison import Noise


def class_scores(returned: Sequence[Tensor]) -> list[Tensor]:
    """The outputs for one image, an N of 1, that are class scores: rows `[1, K]` with K at least 2."""
    return [
        value
        for value in returned
        if value.ndim == 2 and value.shape[0] == 1 and value.shape[1] > 1 and value.is_floating_point()
    ]


def has_class_scores(outputs: Sequence[Sequence[Tensor]]) -> bool:
    """Whether a model that returned these, a list for each image, gives class scores: as many for one as for another.

    What a detector found may have the shape of scores now and then.
    """
    shapes = [[scores.shape for scores in class_scores(returned)] for returned in outputs]
    return bool(shapes) and bool(shapes[0]) and all(each == shapes[0] for each in shapes)


def answers(returned: Sequence[Tensor]) -> list[int]:
    """The class each output of scores puts first."""
    return [int(scores.argmax(1)) for scores in class_scores(returned)]


class Similarity:
    """Signal, noise and equal answers over all images that were added.

    `scores` says how many of the outputs, from the first, the model itself returns; only those may be class scores.
    """

    def __init__(self, scores: int | None = None) -> None:
        self.scores = scores
        self.noises: list[Noise] = []
        self.before: list[Noise] = []
        self.same = self.asked = 0

    def add(self, wanted: Sequence[Tensor], got: Sequence[Tensor], returned: int | None = None) -> None:
        """One image: what the float model gave, and what is compared with it.

        The first `returned` (by default all) are what the model returns, the others what its graphs give before.
        """
        count = len(wanted) if returned is None else returned
        for noises, start, end in ((self.noises, 0, count), (self.before, count, len(wanted))):
            noises += [Noise() for _ in range(end - start - len(noises))]
            for noise, a, b in zip(noises, wanted[start:end], got[start:end], strict=False):
                noise.add(a, b)
        scores = count if self.scores is None else min(self.scores, count)
        pairs = list(zip(answers(wanted[:scores]), answers(got[:scores]), strict=True))
        self.same += sum(a == b for a, b in pairs)
        self.asked += len(pairs)

    @property
    def sqnr_db(self) -> float:
        """10 log10 of signal power over noise power, of the worst output; infinite when all are equal."""
        return min((noise.sqnr for noise in (*self.noises, *self.before)), default=math.inf)

    @property
    def agreement(self) -> float | None:
        """The share of images, from 0 to 1, of which both put the same class first; None without class scores."""
        return self.same / self.asked if self.asked else None
