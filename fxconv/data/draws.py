"""Draws of images to calibrate on, from folders of photographs and generated images, and others to judge by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from fxconv.config import Config
from fxconv.data.calibration import CalibrationData
from fxconv.data.calibration_generated import Generated
from fxconv.data.calibration_photographs import Photographs
from fxconv.data.study_lists import SYNTHETIC, photographs_of
from fxconv.errors import UserError
from fxconv.models.preprocessing import Preprocessing

# Images that every result is judged on; of a folder at most one in so many, for the others are to calibrate on.
IMAGES, _ONE_IN = 50, 2
# Seeds of generated images to judge by lie beyond those to calibrate on.
_JUDGED = 1 << 20

Draw = Callable[[int, int], CalibrationData]
"""Gives so many images of a source, drawn with a seed."""


class _Drawn(Photographs):
    """Photographs of a folder but for those that are judged."""

    def __init__(self, found: Sequence[Path], folder: Path, how: Preprocessing, count: int, size: int, seed: int):
        self._named("--sources")
        self._closed = []
        self._draw(list(found), folder, how, count, size, seed)
        self._spares.clear()  # so many are all there are: neither the recipe nor a damaged file takes others


def open_sources(
    names: Sequence[str],
    preprocessing: Preprocessing,
    images: int,
    config: Config,
    given: CalibrationData | None = None,
) -> tuple[dict[str, Draw], CalibrationData]:
    """The sources to draw from, and the images to judge by, which are of the first of them, unless others are `given`.

    A source is a folder of photographs, or `synthetic`. Raises `UserError` for one that is neither, or empty.
    """
    folders = {name: photographs_of(name) for name in names if name != SYNTHETIC}
    size, first = config.batch_size, names[0]
    judged: CalibrationData
    if given is not None:
        judged, used = given, {path.resolve() for path in given.paths} if isinstance(given, Photographs) else set()
    elif first == SYNTHETIC:
        judged, used = _Made(preprocessing, images, size, config.seed + _JUDGED), set[Path]()
    else:
        found = folders[first]
        most = min(images, len(found) // _ONE_IN)
        if not most:
            raise UserError(
                f"--sources {first}: one photograph is too few: some are to be judged, others calibrated on"
            )
        chosen = Random(config.seed).sample(found, most)
        judged, used = (
            _Drawn(chosen, Path(first), preprocessing, most, size, config.seed),
            {p.resolve() for p in chosen},
        )
    draws: dict[str, Draw] = {}
    for name in names:
        if name == SYNTHETIC:
            draws[name] = lambda count, seed: _Made(preprocessing, count, size, seed)
            continue
        left = [path for path in folders[name] if path.resolve() not in used]
        if not left:
            raise UserError(f"--sources {name}: all of its photographs are judged; give a folder with others")
        draws[name] = _drawing(left, Path(name), preprocessing, size)
    return draws, judged


class _Made(Generated):
    """Generated images that were asked for by name."""

    @property
    def warnings(self) -> list[str]:
        return []


def _drawing(left: Sequence[Path], folder: Path, preprocessing: Preprocessing, size: int) -> Draw:
    return lambda count, seed: _Drawn(left, folder, preprocessing, count, size, seed)
