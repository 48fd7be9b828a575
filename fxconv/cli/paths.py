"""Checks on the files a command will write, before any work is done."""

from __future__ import annotations

from pathlib import Path

from fxconv.data.photographs import SUFFIXES
from fxconv.data.staged_file import StagedFile
from fxconv.errors import UserError


def check_target(path: Path | None, option: str) -> Path | None:
    """`path` itself, when a file can be written there. Raises `UserError` when it cannot.

    A file is made there and removed: permission bits do not tell what root, a network or a full disk allows.
    """
    if path is not None:
        with StagedFile(path, b"", option):
            pass
    return path


def model_file(model: str) -> Path | None:
    """The file a MODEL argument reads, when it is FILE.py:FACTORY."""
    home = model.rpartition(":")[0]
    return Path(home) if home.endswith(".py") else None


def read_files(model: str, weights: str, calib: Path | None, example: Path | None) -> dict[str, Path | None]:
    """The files and folders a command reads, by what names them."""
    from fxconv.data.arrays import split_name

    reads = {"the model": model_file(model), "--weights": Path(weights)}
    return reads | {"--calib": calib and split_name(calib)[0], "--example": example and split_name(example)[0]}


def check_distinct(writes: dict[str, Path | None], reads: dict[str, Path | None]) -> None:
    """No file is written twice, over an input, or over a photograph in a folder of them. Raises `UserError`."""
    files = {option: _file(path) for option, path in reads.items() if path is not None}
    read = {option: path for option, path in files.items() if _there(path)}
    targets = [(option, path) for option, path in writes.items() if path is not None]
    for index, (option, path) in enumerate(targets):
        for other, before in [*read.items(), *targets[:index]]:
            if _same(path, before):
                raise UserError(f"{option} {path}: is the same file as {other}; choose another name")
            is_photograph = path.suffix.lower() in SUFFIXES
            if is_photograph and _there(path) and before.is_dir() and before.resolve() in path.resolve().parents:
                raise UserError(f"{option} {path}: is one of the files in {other} {before}; choose another name")


def _file(path: Path) -> Path:
    """The file itself of FILE.npz:NAME, which names one of its arrays."""
    home = str(path).rpartition(":")[0]
    return Path(home) if home and not _there(path) else path


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name no file can have; whoever reads it says so
        return False


def _same(path: Path, other: Path) -> bool:
    """Whether both names mean one file: hard links and file systems that ignore case included."""
    if _there(path) and _there(other):
        return path.samefile(other)
    return path.resolve() == other.resolve()


def default_output(model: str) -> Path:
    """Where the artifact of `model` goes when nothing is said: its name with .ptl, in the current folder."""
    kind, _, name = model.rpartition(":")
    if kind.lower() == "detector":
        name = f"detector_{name.lower().replace('-', '_')}"
    elif ":" not in model:
        from fxconv.models.loading import resolve

        name = resolve(model)
    path = Path(f"{name}.ptl")
    check_target(path, "-o")
    return path
