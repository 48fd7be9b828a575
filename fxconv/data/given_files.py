"""Files and folders that options name: whether they are there, told before anything is imported that takes seconds."""

from __future__ import annotations

from pathlib import Path

from fxconv.data.arrays import split_name
from fxconv.errors import UserError


def check_images(path: Path | None, option: str) -> None:
    """Raise `UserError` where there is neither a folder nor a file of that name; FILE.npz:NAME means the file."""
    if path is not None and not split_name(path)[0].exists():
        raise UserError(f"{option} {path}: no such file or folder; check the name")


def check_array(path: Path | None, option: str) -> None:
    """Raise `UserError` where there is nothing of that name; FILE.npz:NAME means the file."""
    if path is not None and not split_name(path)[0].exists():
        raise UserError(f"{option} {path}: no such file; check the name")


def check_folder(folder: Path | None, option: str) -> None:
    """Raise `UserError` where there is no such folder."""
    if folder is not None and not folder.is_dir():
        raise UserError(f"{option} {folder}: {'not a folder' if folder.exists() else 'no such folder'}")


def check_evaluation(place: Path | None) -> None:
    """Raise `UserError` where --eval, without a metric, names no folder of photographs."""
    if place is not None and place.is_file() and place.suffix.lower() == ".npz":
        raise UserError(f"--eval {place}: arrays go with --metric FILE.py:NAME; give one, or a folder")
    check_folder(place, "--eval")


def check_labels(file: Path) -> None:
    """Raise `UserError` where a list of classes, or of photographs and their classes, cannot be opened."""
    try:
        with file.open("rb"):
            pass
    except IsADirectoryError as error:
        raise UserError(f"--labels {file}: is a folder; --eval takes it, with a folder in it for each class") from error
    except OSError as error:
        raise UserError(f"--labels {file}: cannot be read ({error.strerror}); check the name") from error


def check_artifact(path: Path) -> None:
    """Raise `UserError` where there is no such artifact."""
    if not path.is_file():
        raise UserError(f"{path}: {'not a file' if path.exists() else 'no such file'}; give a .ptl or .pte")
