"""The rewritten model as a Python file, which is proven before it is written: it computes what the model computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from fxconv.errors import ConversionError, UserError
from fxconv.models import forward
from rewrites import Rewritten
from rewrites.emit import MADE_BY, NotEmittable, emit


def emitted(model: nn.Module, rewritten: Rewritten, name: str, images: Sequence[tuple[Any, ...]]) -> str:
    """The text of a Python module whose `build(model.state_dict())` gives what `rewritten` gives, bit for bit.

    Raises `UserError` for a model that has no place in a file of its own, and `ConversionError` for a file that does
    not compute the same on `images`.
    """
    try:
        text = emit(rewritten, name)
    except NotEmittable as refusal:
        raise UserError(f"--emit: {refusal}; leave it out, or emit the parts of the model that can be") from refusal
    built = load(text).build(model.state_dict())
    wanted, found = forward.outputs(rewritten.module, images), forward.outputs(built, images)
    pairs = [(a, b) for one, other in zip(wanted, found, strict=True) for a, b in zip(one, other, strict=True)]
    if not all(torch.allclose(a, b, rtol=0, atol=0, equal_nan=True) for a, b in pairs):
        raise ConversionError(
            "INTERNAL ERROR in --emit: the file computes something else than the model it was made of"
        )
    return text


def load(text: str) -> Any:
    """The module that an emitted file is."""
    module = ModuleType("emitted")
    exec(compile(text, "<emitted>", "exec"), module.__dict__)
    return module


def check_overwrites(path: Path | None) -> None:
    """Raises `UserError` when a file is there that somebody wrote, or changed the first line of."""
    if path is not None and path.is_file() and path.stat().st_size:
        with path.open(encoding="utf-8", errors="replace") as file:
            if MADE_BY not in file.readline():
                raise UserError(f"--emit {path}: there is a file that fxconv did not write; choose another name")
