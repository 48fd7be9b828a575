"""Arrays in .npy and .npz files, a row at a time: nothing is unpickled, and a file of any size needs little memory.

The files are read, not mapped: a mapped file that another program shortens kills the process that looks at it.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from fxconv.errors import UserError
from fxconv.inspection.what import what_is

# Rows that are asked for in another order than they have are gathered so many bytes at a time, by a pass over the file.
_GATHERED = 64 << 20
_BLOCK = 1 << 20
# What an input holds that is no image: class indices or tokens, and masks.
_INDICES = (np.dtype(np.int64), np.dtype(np.int32))
_OF_INPUTS = (*_INDICES, np.dtype(np.bool_))
# What the images in an .npz file are called, and what their targets.
_PAIRED = (("images", "x"), ("targets", "y"))
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file, of floating-point numbers, uint8, or what is no image: indices and truth values.

    `option` is the command-line option that named it, `member` the name of the array in an .npz file.
    """

    option: str
    path: Path
    member: str | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool

    @property
    def name(self) -> str:
        """The file, and the array in it, as the option takes them."""
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    def rows(self, count: int) -> Iterator[npt.NDArray[Any]]:
        """The first `count` rows, each an array `shape[1:]`, read-only. Raises `UserError` when the file ends early."""
        return self.at(range(count))

    def at(self, places: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
        """The same of the rows at these places, in the order of `places`."""
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        many = max(1, _GATHERED // max(size, 1))
        with _trouble(self.option, self.name):
            if not self.is_fortran and all(before < after for before, after in pairwise(places)):
                yield from self._ascending(places)
                return
            for start in range(0, len(places), many):
                some = places[start : start + many]
                yield from self._scattered(some) if self.is_fortran else self._gathered(some)

    def _ascending(self, places: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        with _opened(self.path, self.member) as file:
            _header(file)
            start = file.tell()
            for place in places:
                file.seek(start + place * size)
                yield np.frombuffer(_exactly(file, size), self.dtype).reshape(self.shape[1:])

    def _gathered(self, places: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
        ascending = sorted(set(places))
        found = dict(zip(ascending, self._ascending(ascending), strict=True))
        return (found[place] for place in places)

    def _scattered(self, places: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
        """Those of a file in Fortran order, in which a row lies scattered over all of it."""
        columns, height = math.prod(self.shape[1:]), self.shape[0]
        step = max(1, _BLOCK // (height * self.dtype.itemsize))
        gathered = np.empty((columns, len(places)), self.dtype)
        with _opened(self.path, self.member) as file:
            _header(file)
            for first in range(0, columns, step):
                width = min(step, columns - first)
                block = np.frombuffer(_exactly(file, width * height * self.dtype.itemsize), self.dtype)
                gathered[first : first + width] = block.reshape(width, height)[:, places]
        return (row.reshape(self.shape[1:], order="F") for row in gathered.T)


def split_name(path: Path) -> tuple[Path, str | None]:
    """`x.npz:images` to the file and the name of the array in it; any other path to itself and None."""
    match = re.fullmatch(r"(.+\.npz):(.+)", str(path), re.IGNORECASE)
    if match is None or path.exists():
        return path, None
    return Path(match[1]), match[2].removesuffix(".npy")


def open_array(path: Path, option: str, ranks: tuple[int, ...] = (4,)) -> ArrayFile:
    """The array that `FILE.npy`, `FILE.npz` or `FILE.npz:NAME` names; no more than its header is read.

    Of several arrays in an .npz file the only one of a fitting type with one of the `ranks` is taken. Raises
    `UserError` in one line when there is none, or it is not of floating-point numbers or uint8.
    """
    file_path, member = _file(path, option)
    with _trouble(option, str(file_path)):
        is_archive = _is_archive(file_path)
        if member and not is_archive:
            raise UserError(f"{option} {path}: {file_path.name} holds one array without a name; leave out :{member}")
        found = _chosen(file_path, member, option, ranks) if is_archive else _described(file_path, None, option)
    return _usable(found)


def open_arrays(path: Path, names: tuple[str, ...], option: str) -> tuple[ArrayFile, ...]:
    """The arrays of an .npz file for the inputs `names`: those so named, or all in their order when none is.

    They hold floating-point numbers, indices (int64, int32) or truth values. Raises `UserError` in one line when they
    are not as many, or hold something else.
    """
    file_path, member = _file(path, option)
    wanted = f"the model takes {len(names)} inputs ({', '.join(names)})"
    cure = f"save them with np.savez({file_path.name!r}, {', '.join(f'{name}=...' for name in names)})"
    with _trouble(option, str(file_path)):
        if member or not _is_archive(file_path):
            raise UserError(f"{option} {path}: is one array and {wanted}; {cure}")
        members = _members(file_path)
        known = [name for name in names if name in members]
        if len(members) != len(names) or (known and len(known) != len(names)):
            raise UserError(f"{option} {path}: holds {', '.join(members) or 'no arrays'} and {wanted}; {cure}")
        found = tuple(_usable(_described(file_path, name, option), _OF_INPUTS) for name in known or members)
    for array in found:
        if array.dtype == np.uint8:
            raise UserError(
                f"{option} {array.name}: holds uint8; give each of several inputs as float, as the model takes it"
            )
    return found


def holds_indices(path: Path, option: str) -> bool:
    """Whether a file is one array of indices, `[N]` or `[N, T]`, which no image is. Raises `UserError` as others do."""
    file_path, member = _file(path, option)
    with _trouble(option, str(file_path)):
        if member is None and _is_archive(file_path) and len(_members(file_path)) != 1:
            return False
        found = _lone(file_path, member, option)
    return found.dtype in _INDICES and len(found.shape) in (1, 2)


def open_indices(path: Path, option: str) -> ArrayFile:
    """The array of a file that `holds_indices`."""
    file_path, member = _file(path, option)
    with _trouble(option, str(file_path)):
        return _usable(_lone(file_path, member, option), _INDICES)


def open_targets(path: Path, option: str) -> tuple[str, ArrayFile]:
    """The name of the images in an .npz file, `images` or `x`, and the array of their targets, `targets` or `y`.

    Targets are numbers or truth values of any kind. Raises `UserError` in one line where there are none.
    """
    file_path, member = _file(path, option)
    with _trouble(option, str(file_path)):
        members = _members(file_path) if member is None and _is_archive(file_path) else []
        images, targets = (next((name for name in names if name in members), None) for names in _PAIRED)
        if images is None or targets is None:
            held = f"holds {', '.join(members) or 'one array'}"
            cure = f"save them with np.savez({file_path.name!r}, images=..., targets=...)"
            raise UserError(f"{option} {path}: {held}, and images and their targets are needed; {cure}")
        found = _described(file_path, targets, option)
        kinds = (found.dtype,) if found.dtype.kind in "biuf" else ()
        return images, _usable(found, kinds)


def _lone(path: Path, member: str | None, option: str) -> ArrayFile:
    """The array that a file holds, or the one that is named."""
    return _chosen(path, member, option, (1, 2)) if _is_archive(path) else _described(path, None, option)


def whole_arrays(path: Path, option: str) -> list[npt.NDArray[Any]]:
    """All arrays of `FILE.npy` or `FILE.npz`, in their order, as they stand; of `FILE.npz:NAME` that one.

    Raises `UserError` in one line when there is none, or one is empty, or holds what no input is.
    """
    file_path, member = _file(path, option)
    with _trouble(option, str(file_path)):
        is_archive = _is_archive(file_path)
        if member or not is_archive:
            chosen = _chosen(file_path, member, option, (4,)) if is_archive else _described(file_path, None, option)
            files = [_usable(chosen, _OF_INPUTS)]
        else:
            files = [_usable(_described(file_path, name, option), _OF_INPUTS) for name in _members(file_path)]
        if not files:
            raise UserError(f"{option} {path}: a zip archive without arrays")
        for one in files:
            if not one.shape or not math.prod(one.shape):
                raise UserError(f"{option} {one.name}: an array of shape {one.shape} has no rows")
        return [np.stack(list(one.rows(one.shape[0]))) for one in files]


def _file(path: Path, option: str) -> tuple[Path, str | None]:
    """The file and the name of the array in it. Raises `UserError` when it is no such file."""
    file_path, member = split_name(path)
    if file_path.suffix.lower() not in (".npy", ".npz"):
        folder = "a folder of photographs, " if option == "--calib" else ""
        expected = f"{folder}an .npy or an .npz file, not {file_path.suffix or 'this'}"
        if not file_path.is_file():
            raise UserError(f"{option} {path}: expected {expected}")
        what = what_is(file_path)
        cure = ""
        if what.endswith("image"):
            cure = (
                f"; give its folder, {option} {file_path.parent}" if folder else "; fxconv example makes one of images"
            )
        elif what.startswith("a zip"):
            cure = "; unpack it"
        raise UserError(f"{option} {path}: is {what}; expected {expected}{cure}")
    if not file_path.is_file():
        raise UserError(f"{option} {file_path}: {'not a file' if file_path.exists() else 'no such file'}")
    return file_path, member


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _usable(found: ArrayFile, others: Collection[np.dtype[Any]] = ()) -> ArrayFile:
    """The array itself. Raises `UserError` when it is not of floating-point numbers, uint8, or one of the `others`."""
    if found.dtype.hasobject:
        raise UserError(
            f"{found.option} {found.name}: holds Python objects, which are not unpickled; save an array of numbers"
        )
    if not _is_usable(found.dtype) and found.dtype not in others:
        kind = "structures" if found.dtype.names else str(found.dtype)
        expected = "float32 (preprocessed) or uint8 (pixels)"
        if others:
            expected = f"float32 (preprocessed), {', '.join(map(str, others))} or uint8 (pixels)"
        raise UserError(f"{found.option} {found.name}: values of type {kind}; expected {expected}")
    return found


def _is_usable(dtype: np.dtype[Any]) -> bool:
    return dtype == np.uint8 or np.issubdtype(dtype, np.floating)


def _chosen(path: Path, member: str | None, option: str, ranks: tuple[int, ...]) -> ArrayFile:
    names = _members(path)
    if not names:
        raise UserError(f"{option} {path}: a zip archive without arrays")
    if member is not None:
        if member not in names:
            raise UserError(f"{option} {path}: has no array {member!r}; it has {', '.join(names)}")
        return _described(path, member, option)
    if len(names) == 1:
        return _described(path, names[0], option)
    arrays = [_described(path, name, option) for name in names]
    fitting = [array for array in arrays if len(array.shape) in ranks and _is_usable(array.dtype)]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{array.member} {array.dtype} {array.shape}" for array in arrays)
    raise UserError(
        f"{option} {path}: holds several arrays ({listed}); name one: {path.name}:{(fitting or arrays)[0].member}"
    )


def _described(path: Path, member: str | None, option: str) -> ArrayFile:
    """What the header says, once the file is known to be long enough for it."""
    with _opened(path, member) as file:
        shape, is_fortran, dtype = _header(file)
        start = file.tell()
    size = path.stat().st_size
    if member is not None:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(f"{member}.npy").file_size
    needed = start + math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and size < needed:
        raise EOFError(f"cut off: {size:,} bytes of {needed:,}")
    return ArrayFile(option, path, member, shape, dtype, is_fortran)


@contextmanager
def _opened(path: Path, member: str | None) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        if member is None:
            yield file
        else:
            with zipfile.ZipFile(file) as archive, archive.open(f"{member}.npy") as inside:
                yield inside


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(file)
    except ValueError as error:
        raise ValueError("its content is not what np.save writes") from error
    if version not in _READERS:
        raise ValueError(f"format version {version[0]}.{version[1]}")
    shape, is_fortran, dtype = _READERS[version](file)
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return shape, is_fortran, dtype


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("cut off: it has become shorter since it was opened")
    return data


@contextmanager
def _trouble(option: str, name: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a damaged file fails wherever the damage lies: in the zip, the header, the numbers
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        first = (words.strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{option} {name}: not a readable array ({first})") from error
