"""Photographs whose class is known, to tell accuracy by: a folder for each class, or a list of files and classes."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fxconv.data import photographs
from fxconv.data.calibration import Batches, CalibrationData
from fxconv.data.calibration_photographs import Photographs, check_channels
from fxconv.data.given_files import check_folder, check_labels
from fxconv.errors import UserError, ValuesError
from fxconv.models.preprocessing import Preprocessing

# `207_golden_retriever`, `207`, `0-cat`; not `3d_models`.
_NUMBERED = re.compile(r"(\d+)(?![0-9A-Za-z])")


class LabelledPhotographs(Photographs):
    """Photographs drawn at random, with a seed, from those that have a class index."""

    kind, purpose = "labelled photographs", "judging"

    def __init__(
        self,
        classes: dict[Path, int],
        option: str,
        place: Path,
        preprocessing: Preprocessing,
        count: int,
        batch_size: int,
        seed: int,
    ) -> None:
        check_channels(preprocessing, f"{option} {place}", "")
        self._named(option)
        self._closed, self.classes = [], classes
        self._draw(sorted(classes), place, preprocessing, count, batch_size, seed)

    @property
    def labels(self) -> Sequence[int]:
        return [self.classes[path] for path in self.paths]


class LabelledBatches(Batches):
    """Tensors `[N, ...]` given from Python, as for calibration, and the class index of each row of all of them."""

    def __init__(self, batches: Iterable[Tensor | Sequence[Tensor]], labels: Iterable[int]) -> None:
        super().__init__(batches)
        self._labels = [int(label) for label in labels]
        if len(self._labels) != self.count:
            raise ValuesError(f"{len(self._labels)} labels for {self.count} images; give one for each")

    @property
    def labels(self) -> Sequence[int]:
        return self._labels


@dataclass(frozen=True)
class Classes:
    """The class index of each photograph, by its path; `option` and `place` say where that was read."""

    index: dict[Path, int]
    option: str
    place: Path

    def photographs(
        self, preprocessing: Preprocessing, count: int, batch_size: int, seed: int, but: CalibrationData | None = None
    ) -> LabelledPhotographs:
        """At most `count` of them, none of which is among those of `but`. Raises `UserError` when none is left."""
        used = {path.resolve() for path in but.paths} if isinstance(but, Photographs) else set[Path]()
        left = {path: index for path, index in self.index.items() if path.resolve() not in used}
        if not left:
            judged = isinstance(but, LabelledPhotographs)
            use, cure = ("to judge by", "--held-out") if judged else ("for calibration", "--calib-count")
            raise UserError(f"{self.option} {self.place}: all of its photographs are used {use}; lower {cure}")
        return LabelledPhotographs(left, self.option, self.place, preprocessing, count, batch_size, seed)


def read_classes(folder: Path | None, labels: Path | None, option: str = "--eval") -> Classes | None:
    """The class of each photograph in a folder or a list; None when neither is given.

    Without `labels` the photographs of each folder in `folder`, and of the folders in it, are one class: its index is
    the number its name begins with (`207_golden_retriever`) if all folders' names do, else its place in their sorted
    order. `labels` is a text file with a line `file,index` for each photograph (a tab or a blank does for the comma; a
    first line of titles is passed over): the files are those in `folder`, or beside the text file without it. `option`
    named the folder. Raises `UserError`.
    """
    check_folder(folder, option)
    if labels is not None:
        return Classes(_listed(labels, folder or labels.parent), "--labels", labels)
    return None if folder is None else Classes(_by_folder(folder, option), option, folder)


def _by_folder(folder: Path, option: str) -> dict[Path, int]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found, _ = photographs.find(folder)
    if loose := next((path for path in found if path.parent == folder), None):
        raise UserError(
            f"{option} {folder}: {loose.name} lies in no folder of its class; make a folder for each class"
            f"{', or say the classes with --labels FILE' if option == '--eval' else ''}"
        )
    if not found:
        raise UserError(
            f"{option} {folder}: no photographs in it; make a folder for each class, with photographs in it"
        )
    index = _indices(names)
    return {path: index[path.relative_to(folder).parts[0]] for path in found}


def _indices(names: Collection[str]) -> dict[str, int]:
    """The class index of each folder, by its name."""
    numbers = {name: _NUMBERED.match(name) for name in names}
    if all(numbers.values()):
        return {name: int(found[1]) for name, found in numbers.items() if found}
    return {name: place for place, name in enumerate(names)}


def _listed(file: Path, folder: Path) -> dict[Path, int]:
    check_labels(file)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"--labels {file}: is no text; expected lines of a file's name and its class index") from error
    classes: dict[Path, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, index = _fields(line)
        if not re.fullmatch(r"\d+", index):
            if number == 1 and name:  # titles
                continue
            raise UserError(f"--labels {file}: line {number} is {line.strip()!r}; expected a file's name, a comma and "
                            "its class index, from 0")  # fmt: skip
        path = folder / name
        if not path.is_file():
            raise UserError(f"--labels {file}: line {number}: there is no file {path}; say where it lies with --eval")
        if classes.setdefault(path, int(index)) != int(index):
            raise UserError(f"--labels {file}: line {number}: {name} has another class above; leave one of them out")
    if not classes:
        raise UserError(f"--labels {file}: no lines of a file's name and its class index in it")
    return classes


def photographs_in(lines: Iterable[str], folder: Path) -> Iterator[Path]:
    """The files that the lines of such a list name, whether they are there or not."""
    for line in lines:
        if line.strip():
            yield folder / _fields(line)[0]


def _fields(line: str) -> tuple[str, str]:
    """The name and the index on a line; the index is "" when there are not two fields."""
    if "," in line or "\t" in line:
        fields = next(csv.reader([line], delimiter="\t" if "\t" in line else ","))
    else:
        fields = line.rsplit(None, 1)
    name, *others = (field.strip() for field in fields)
    return name, others[0] if len(others) == 1 else ""
