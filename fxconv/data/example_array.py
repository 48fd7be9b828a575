"""Photographs drawn at random and preprocessed, as the array file that `--example` and `--calib` take."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import Tensor

from fxconv.config import Config
from fxconv.data.calibration_photographs import Photographs
from fxconv.data.given_files import check_folder
from fxconv.data.staged_file import StagedFile
from fxconv.errors import UserError
from fxconv.models import loading, preconditions
from fxconv.models.input_size import parse_input_size
from fxconv.models.loading import LoadedModel
from fxconv.models.preprocessing import Preprocessing
from fxconv.models.preprocessing_choice import chosen
from fxconv.progress import Progress

# Bytes of arrays that are made in memory, twice: an artifact's calibration needs a hundred images, 60 MB of 224x224.
_MOST_BYTES = 4 << 30


@dataclass(frozen=True)
class Example:
    """What was written: where, from which photographs, the arrays by name, and what the user must know of it."""

    path: Path
    source: str
    shapes: dict[str, tuple[int, ...]]
    preprocessing: Preprocessing
    warnings: tuple[str, ...] = ()


class _Drawn(Photographs):
    option, purpose = "DIR", "the example"


def write_example(
    folder: Path,
    target: Path,
    count: int = 1,
    seed: int = 0,
    model: str | None = None,
    input_size: str | None = None,
    heads: str | None = None,
    arguments: Sequence[str] = (),
    progress: Progress = lambda step, done, total: None,
    pixels: Mapping[str, Any] = MappingProxyType({}),
) -> Example:
    """Write `count` photographs of a folder, drawn with `seed`, as float32 `[N, C, H, W]` (of clips `[N, C, T, H, W]`).

    They are preprocessed as `model` wants them, by ImageNet's mean and deviation to 224x224 unless one is named, or as
    `pixels` say, fields of `Config`. For a
    model of several inputs `target` is an .npz file with an array for each. Raises `UserError` for a folder without
    photographs, a model that cannot be named or does not take photographs, another kind of file, and too many images.
    """
    if model is None and arguments:
        raise UserError(f"--model-arg {arguments[0]}: goes with --model; name the model, or leave it out")
    loaded = None
    if model is not None:
        loaded = loading.load(model, "random", input_size, seed, structure_only=True, heads=heads, arguments=arguments)
    names = loaded.signature.names if loaded is not None else ("x",)
    kind = ".npz" if len(names) > 1 else ".npy"
    if target.suffix.lower() != kind:
        raise UserError(f"-o {target}: expected a name that ends in {kind}" + _why(names))
    known = _preprocessing(loaded, input_size)
    preprocessing = chosen(known, Config(**pixels), input_size is not None)
    check_folder(folder, "DIR")
    photographs = _Drawn(folder, preprocessing, count, 1, seed)
    size = int(4 * np.prod(preprocessing.shape) * len(names))
    if photographs.count * size > _MOST_BYTES:
        most = _MOST_BYTES // size
        raise UserError(f"-n {count}: {photographs.count * size / 1e9:.1f} GB of arrays; ask for {most} images at most")
    rows = list[tuple[Tensor, ...]]()
    for image in photographs.images():
        if loaded is not None and not rows:  # a network may take numbers or boxes beside images: say so before writing
            preconditions.reference(
                loaded.module, [loaded.signature.arguments(tuple(each[None] for each in image))], loaded.name
            )
        rows.append(image)
        progress("reading images", len(rows), photographs.count)
    arrays = {name: np.stack([row[index].numpy() for row in rows]) for index, name in enumerate(names)}
    content = io.BytesIO()
    if len(names) > 1:
        np.savez(content, **arrays)  # type: ignore[arg-type]  # of numpy 2.2: its keywords are said to be bool
    else:
        np.save(content, arrays[names[0]])
    with StagedFile(target, content.getvalue(), "-o") as staged:
        staged.commit()
    fewer = () if photographs.count == count else (f"{photographs.count} images were written, {count} were asked for",)
    shapes = {name: array.shape for name, array in arrays.items()}
    return Example(target, photographs.source, shapes, preprocessing, (*photographs.warnings, *fewer))


def _why(names: Sequence[str]) -> str:
    return f": the model takes {len(names)} inputs ({', '.join(names)})" if len(names) > 1 else ""


def _preprocessing(loaded: LoadedModel | None, input_size: str | None) -> Preprocessing:
    if loaded is not None:
        return loaded.preprocessing
    size = parse_input_size(input_size)
    plain = Preprocessing()
    return plain if size is None else plain.resized(size.channels, size.height, size.width, size.frames)
