"""The names of a model's classes, in the order of its outputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fxconv.data.photographs import SUFFIXES
from fxconv.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# `3,glass bottle`, `3: glass bottle`, `3 glass bottle`
_INDEXED = re.compile(r"(\d+)\s*[,:\t ]\s*(.+)")
_PHOTOGRAPH = re.compile(r"(.+?)[,\t ]\s*\d+")


def sorted_files(files: Sequence[Path], folder: Path | None) -> tuple[Path | None, Path | None]:
    """What `--labels` named: the list of photographs and their classes, and the list of the classes' names.

    A list is of photographs when the first field of a line is a file in `folder`, or beside the list, or is called like
    a photograph. Raises `UserError` for two of a kind.
    """
    found: dict[bool, Path] = {}
    for file in files:
        is_photographs = _lists_photographs(file, folder or file.parent)
        if is_photographs in found:
            kind = "the classes of photographs" if is_photographs else "the names of classes"
            raise UserError(f"--labels {file}: {found[is_photographs]} has {kind} already; give one list of each kind")
        found[is_photographs] = file
    return found.get(True), found.get(False)


def _lists_photographs(file: Path, folder: Path) -> bool:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return True  # it will be refused by whoever reads photographs' classes
    for line in lines:
        if match := _PHOTOGRAPH.fullmatch(line.strip()):
            name = match[1].strip().strip('"')
            if Path(name).suffix.lower() in SUFFIXES or (folder / name).is_file():
                return True
    return not any(line.strip() for line in lines)


def read_names(file: Path) -> tuple[str, ...]:
    """Names of classes: a line each, in the order of their indices from 0, with or without the index before them.

    Raises `UserError` naming the line that is neither.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except OSError as error:
        raise UserError(f"--labels {file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--labels {file}: is no text; expected the name of a class a line") from error
    for number, line in enumerate(lines, 1):
        if not line:
            raise UserError(
                f"--labels {file}: line {number} is empty, and every line is a class; name it, or remove it"
            )
    indexed = [_INDEXED.fullmatch(line) for line in lines]
    if all(match and int(match[1]) == index for index, match in enumerate(indexed)):
        return tuple(match[2] for match in indexed if match)
    return tuple(lines)


def check_names(names: Sequence[str], outputs: Sequence[Tensor]) -> None:
    """Raises `UserError` unless an output of the float model has as many classes as there are names.

    Classes are counted where outputs are `[N, C]` or `[N, C, H, W]`; other outputs do not say how many there are.
    """
    counts = class_counts(outputs)
    if counts and len(names) not in counts:
        known = " or ".join(map(str, counts))
        raise UserError(f"--labels: {len(names)} names for a model of {known} classes; give as many, a line each")


def class_counts(outputs: Sequence[Tensor]) -> list[int]:
    """How many classes each output that has some has."""
    return sorted({int(output.shape[1]) for output in outputs if output.ndim in (2, 4)})
