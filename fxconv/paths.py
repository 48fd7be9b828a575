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


def model_file(model: str) -> Path | None:
    """The file a MODEL argument reads, when it is FILE.py:FACTORY."""
    home = model.rpartition(":")[0]
    return Path(home) if home.endswith(".py") else None


def check_distinct(writes: dict[str, Path | None], reads: dict[str, Path | None]) -> None:
    """No file is written twice or over an input. Raises `UserError` naming both options."""
    seen = {path.resolve(): option for option, path in reads.items() if path is not None and path.exists()}
    for option, path in writes.items():
        if path is None:
            continue
        other = seen.setdefault(path.resolve(), option)
        if other != option:
            raise UserError(f"{option} {path}: is the same file as {other}; choose another name")


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
