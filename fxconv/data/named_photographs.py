"""Photographs that are named one by one, and those in folders that are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fxconv.data.photographs import SUFFIXES, find
from fxconv.errors import UserError


def named(images: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files named, and the photographs in the folders named, sorted; and a sentence for each folder left out.

    Raises `UserError` for what is not there, or no file, and for a folder without photographs.
    """
    found: list[Path] = []
    warned: list[str] = []
    for one in images:
        if not one.exists():
            raise UserError(f"{one}: no such file; name photographs, or folders of them")
        if one.is_file():
            found.append(one)
            continue
        if not one.is_dir():
            raise UserError(f"{one}: is no file; name photographs, or folders of them")
        inside, closed = find(one)
        if not inside:
            why = "".join(f"; {name} could not be opened: {reason}" for name, reason in closed[:1])
            kinds = " ".join(sorted(suffix[1:] for suffix in SUFFIXES))
            raise UserError(f"{one}: no photographs in it{why}; expected files of these kinds: {kinds}")
        found += inside
        warned += [f"the folder {name} was not searched for photographs: {reason}" for name, reason in closed]
    if not found:
        raise UserError("no images: name photographs, or folders of them")
    return found, warned
