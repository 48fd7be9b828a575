"""What a file is: a model for phones, weights, something else. It is read; nothing in it is run."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path

from fxconv.errors import UserError
from fxconv.inspection import archive, executorch, kinds, legacy, mobile_flatbuffer, onnx, safetensors
from fxconv.inspection.effects import effects
from fxconv.inspection.found import (
    Delegate,
    DelegateOperator,
    ExtraFile,
    Inspection,
    Kind,
    Loader,
    Operator,
    Part,
    StoredTensor,
    Unreadable,
)
from fxconv.inspection.loaders import loaders
from fxconv.inspection.opened import Opened, opened
from fxconv.inspection.printable import printable
from fxconv.inspection.schemas import with_schemas
from fxconv.inspection.torch_archive import folders, inspect_archive

__all__ = [
    "Delegate",
    "DelegateOperator",
    "ExtraFile",
    "Inspection",
    "Kind",
    "Loader",
    "Operator",
    "Part",
    "StoredTensor",
    "inspect",
    "with_schemas",
]

_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def inspect(path: Path) -> Inspection:
    """What the file at `path` is, and what is in it, without running any of it, torch not even imported.

    Raises `UserError` in one line for a file that is missing, empty, truncated, damaged, made to harm its readers, or
    no model.
    """
    try:
        with opened(path) as file:
            found = _inspected(file, Inspection(path, file.size, Kind.PICKLE))
    except Unreadable as error:
        raise UserError(f"{printable(str(path), 300)}: {printable(str(error), 600)}") from error
    problems = (*found.problems, *effects(found.operators))
    return replace(found, loaders=loaders(found), problems=problems)


def _inspected(file: Opened, bare: Inspection) -> Inspection:
    start = file.start
    if start.startswith((archive.BEGINNING, b"PK\x05\x06")):
        return _archive(file, bare)
    if start.startswith(_PICKLES):
        return legacy.inspect_pickle(file, bare)
    if safetensors.is_safetensors(file):
        return safetensors.inspect_safetensors(file, bare)
    if start[4:8] == executorch.MARK:
        # not closed, but left to its last reader: an error that is raised holds views of it for a while
        whole = memoryview(mmap.mmap(file.file.fileno(), 0, access=mmap.ACCESS_READ))
        return executorch.inspect_executorch(whole, bare)
    with mmap.mmap(file.file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
        if start[4:8] == mobile_flatbuffer.MARK:
            return mobile_flatbuffer.inspect_mobile(data, bare)
        if start[4:8] == b"TFL3":
            return replace(bare, kind=Kind.TFLITE, parts=(Part("model", file.size),))
        if onnx.is_onnx(data):
            return onnx.inspect_onnx(data, bare)
    raise Unreadable(kinds.otherwise(file, bare.path.suffix))


def _archive(file: Opened, bare: Inspection) -> Inspection:
    if file.start[4:8] == mobile_flatbuffer.MARK:  # torch looks for this first
        raise Unreadable("begins as two kinds of file do, and readers differ in which they take; do not use it")
    found = archive.read_archive(file)
    read = inspect_archive(found, bare)
    if read is not None:
        return read
    names = list(found.records)
    parts = folders(found)
    if any(name.endswith((".json", "archive_format")) and "model" in name for name in names):
        return replace(bare, kind=Kind.EXPORTED, parts=parts, problems=found.problems)
    if any(name.startswith(".data/extern_modules") for name in names):
        return replace(bare, kind=Kind.PACKAGE, parts=parts, problems=found.problems)
    raise Unreadable(kinds.other_archive(names))
