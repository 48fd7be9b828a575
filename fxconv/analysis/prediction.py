"""What a file says of photographs: each is preprocessed as the file wants it, and its answer told with its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from fxconv.analysis.file_preprocessing import FileInput, file_input
from fxconv.analysis.predicted_outputs import Output, told
from fxconv.data import photographs
from fxconv.data.class_names import check_names, read_names
from fxconv.data.named_photographs import named
from fxconv.errors import UserError
from fxconv.models.image_pixels import UnreadablePhotograph
from fxconv.models.photograph_places import Places, places
from fxconv.models.preprocessing import Preprocessing
from fxconv.progress import Progress
from fxconv.targets.proof import metadata
from fxconv.targets.proof.outputs_of_file import AT_ONCE, Named, outputs_of_file
from fxconv.targets.proof.prove import MEGABYTES, SECONDS, check_runnable

TOP = 5


@dataclass(frozen=True)
class PredictedImage:
    """What the outputs of a file say of one image: `height` and `width` are the photograph's, once upright."""

    image: str
    height: int
    width: int
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Prediction:
    """A file's answers for images, in the order in which they were named.

    `model` is the name that the file gives its model, `shape` what it takes. `labels_from` says where the names of
    classes are from, "" where there are none. `unreadable` are images that could not be read, each with why; `notes`
    what else the user must know.
    """

    file: str
    model: str
    shape: tuple[int, ...]
    preprocessing: Preprocessing
    labels_from: str
    images: tuple[PredictedImage, ...]
    unreadable: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Read:
    """A photograph as the file takes it, and where its pixels are in the photograph."""

    image: str
    height: int
    width: int
    where: Places | None
    taken: Tensor


def predict(
    path: Path | str,
    images: Sequence[Path | str],
    labels: Path | None = None,
    top: int = TOP,
    pixels: Mapping[str, Any] = MappingProxyType({}),
    seconds: int = SECONDS,
    megabytes: int = MEGABYTES,
    progress: Progress = lambda step, done, total: None,
) -> Prediction:
    """Run a file on photographs, and on those in folders, and tell the `top` classes or objects of each output.

    Preprocessing is what the file says; `pixels`, fields of `Config`, name a function of the user's again, and say how
    where the file does not. `labels` is a list of names in place of the file's. The file runs in a process of its own,
    with the limits of `prove.prove`. Raises `UserError` for a file that must not be run or takes other than one image,
    and where no image can be read.
    """
    path = Path(path)
    files, notes = named([Path(image) for image in images])
    check_runnable(path, seconds, megabytes)
    says = metadata.metadata_in(path) or {}
    takes = file_input(path, says, pixels)
    names, labels_from = _names(path, says, labels)
    how, has_peaks = takes.preprocessing, isinstance(says.get("detections"), dict)
    if how.origin.name == "assumed":
        notes.append(f"{path}: its preprocessing was assumed when it was converted: {how.in_words}")
    found, unreadable, waiting = list[PredictedImage](), list[tuple[str, str]](), list[_Read]()

    def run() -> None:
        progress("running the file", len(found), len(files))
        returned = outputs_of_file(path, [(one.taken,) for one in waiting], seconds, megabytes)
        for one, outputs in zip(waiting, returned, strict=True):
            if labels is not None and names is not None and not has_peaks:
                check_names(names, [tensor for _, tensor in outputs])
            said = told(_by_their_names(outputs, says), has_peaks, names, one.where, top)
            found.append(PredictedImage(one.image, one.height, one.width, said))
        waiting.clear()

    for number, file in enumerate(files):
        progress("reading images", number, len(files))
        try:
            waiting.append(_read(file, takes))
        except UnreadablePhotograph as error:
            unreadable.append((str(file), str(error)))
        if sum(one.taken.nbytes for one in waiting) >= AT_ONCE:
            run()
    if waiting:
        run()
    if not found:
        first, reason = unreadable[0]
        raise UserError(f"none of the images could be read ({len(files)} tried); the first is {first}: {reason}")
    shape = (how.channels, *how.size)
    name = str(model.get("name", "")) if isinstance(model := says.get("model"), dict) else ""
    return Prediction(str(path), name, shape, how, labels_from, tuple(found), tuple(unreadable), tuple(notes))


def _read(file: Path, takes: FileInput) -> _Read:
    how = takes.preprocessing
    image = photographs.read(file, how.mode, how.least_side)
    height, width = photographs.upright_size(file)
    where = places(how, image.height, image.width)
    if where is not None:  # a large photograph is decoded at a part of its size
        where = where.enlarged(width / image.width, height / image.height)
    return _Read(str(file), height, width, where, takes.tensor(image))


def _by_their_names(outputs: Named, says: Mapping[str, Any]) -> Named:
    """The tensors by the names that the model had for them: a traced file returns them in a row, by their places."""
    known = says.get("outputs")
    if not isinstance(known, list) or len(known) != len(outputs):
        return outputs
    names = [one.get("name") if isinstance(one, dict) else None for one in known]
    return [(name if isinstance(name, str) else own, one) for name, (own, one) in zip(names, outputs, strict=True)]


def _names(path: Path, says: Mapping[str, Any], given: Path | None) -> tuple[Sequence[str] | None, str]:
    """The names of the classes, and where they are from."""
    if given is not None:
        names = read_names(given)
        if isinstance(outputs := says.get("outputs"), list) and not says.get("detections"):
            shapes = [one.get("shape") for one in outputs if isinstance(one, dict)]
            sound = [shape for shape in shapes if isinstance(shape, list) and all(type(side) is int for side in shape)]
            check_names(names, [torch.empty(shape, device="meta") for shape in sound])
        return names, str(given)
    own = says.get("labels")
    if isinstance(own, list) and own and all(isinstance(name, str) for name in own):
        return own, str(path)
    return None, ""
