"""A folder of photographs as calibration data, one in memory at a time."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor

from fxconv.data import photographs
from fxconv.data.calibration import CalibrationData
from fxconv.data.digests import SPARES, folder_digest
from fxconv.errors import UserError
from fxconv.models import image_pixels
from fxconv.models.preprocessing import Preprocessing

# Unreadable photographs named one by one; the others are counted.
_NAMED = 5


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
        self._all = tuple(found)
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
        least = self.preprocessing.least_side
        position = skip  # what could not be read has left its place to another by then
        while position < len(self.paths):
            path = self.paths[position]
            try:
                image = photographs.read(path, self.preprocessing.mode, least)
            except image_pixels.UnreadablePhotograph as error:
                self._leave_out(position, error)
                continue
            yield self.preprocessing.inputs(image, position)
            position += 1

    def digest(self) -> str:
        return folder_digest(self.folder, self._all, [*self.paths, *self._spares[:SPARES]])

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
