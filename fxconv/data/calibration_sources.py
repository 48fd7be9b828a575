"""What `--calib` names, opened: a folder of photographs, an array file, or generated images."""

from __future__ import annotations

from pathlib import Path

from fxconv.data.arrays import holds_indices
from fxconv.data.calibration import CalibrationData
from fxconv.data.calibration_arrays import Arrays, NamedArrays
from fxconv.data.calibration_generated import Generated
from fxconv.data.calibration_photographs import Photographs
from fxconv.data.given_files import check_images
from fxconv.models.preprocessing import Preprocessing


def open_calibration(
    path: Path | None,
    preprocessing: Preprocessing,
    count: int,
    batch_size: int,
    seed: int,
    names: tuple[str, ...] = ("x",),
    option: str = "--calib",
) -> CalibrationData:
    """The calibration source a path names: a folder, an array file, or generated images when there is no path.

    `names` are those of the network's inputs, `option` the one that named the path. Raises `UserError` when the path
    gives nothing the network can take.
    """
    if path is None:
        return Generated(preprocessing, count, batch_size, seed)
    check_images(path, option)
    if path.is_dir():
        return Photographs(path, preprocessing, count, batch_size, seed, option)
    if len(names) > 1 or holds_indices(path, option):
        return NamedArrays(path, names, preprocessing.shape, count, batch_size, seed, option)
    return Arrays(path, preprocessing, count, batch_size, seed, option)
