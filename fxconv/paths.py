"""Checks on the files a command will write, before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

from fxconv.errors import UserError


def check_target(path: Path | None, option: str) -> Path | None:
    """`path` itself, when a file can be written there. Raises `UserError` when it cannot."""
    if path is None:
        return None
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; give a file name")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{option} {path}: the folder {path.parent} cannot be written to")
    return path


def default_output(model: str) -> Path:
    """Where the artifact of `model` goes when nothing is said: its name with .ptl, in the current folder."""
    if ":" in model:
        name = model.rpartition(":")[2]
    else:
        from fxconv.models import resolve

        name = resolve(model)
    path = Path(f"{name}.ptl")
    check_target(path, "-o")
    return path
