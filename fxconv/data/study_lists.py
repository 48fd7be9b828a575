"""What --sources and --counts of a study say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fxconv.data import photographs
from fxconv.errors import UserError

# What stands for generated images among the sources.
SYNTHETIC = "synthetic"


def parse_sources(text: str) -> tuple[str, ...]:
    """Folders and `synthetic` from a list with commas. Raises `UserError` for an empty name."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise UserError(f"--sources {text}: a name between the commas is empty; give folders, or {SYNTHETIC}")
    return names


def check_sources(names: Sequence[str]) -> None:
    """Raises `UserError` for a source that is no folder of photographs, before anything is loaded."""
    for name in names:
        if name != SYNTHETIC:
            photographs_of(name)


def photographs_of(name: str) -> list[Path]:
    """The photographs of a folder among the sources. Raises `UserError` where there are none."""
    folder = Path(name)
    if not folder.is_dir():
        what = "is no folder of photographs" if folder.exists() else "no such folder"
        raise UserError(f"--sources {name}: {what}; give folders, or {SYNTHETIC}, with commas between")
    found, _ = photographs.find(folder)
    if not found:
        raise UserError(f"--sources {name}: no photographs in it")
    return found


def parse_counts(text: str) -> tuple[int, ...]:
    """Numbers of images from `1,10,100`. Raises `UserError`."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 1 << 31 for word in words):
        raise UserError(f"--counts {text}: expected numbers of images with commas between, such as 1,10,100")
    return tuple(dict.fromkeys(map(int, words)))
