"""The targets there are, and which of them file names ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fxconv.config import TARGETS as SUFFIXES
from fxconv.errors import UserError
from fxconv.targets.executorch.target import EXECUTORCH
from fxconv.targets.mobile.target import MOBILE
from fxconv.targets.suffixes import check_suffixes
from fxconv.targets.target import Target

# The first is written where nothing else is said.
TARGETS: tuple[Target, ...] = (MOBILE, EXECUTORCH)


def target_of(path: Path | None = None) -> Target:
    """The target whose files end like this one; the first where none does, or there is no name yet."""
    suffix = path.suffix.lower() if path is not None else ""
    return next((one for one in TARGETS if one.suffix == suffix), TARGETS[0])


def target_of_file(path: Path) -> Target:
    """The target of a file that is there: what it begins with says more than its name."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return target_of(path)  # whoever reads it says so
    found = next((one for one in TARGETS if one.begins(start)), None)
    return found or target_of(path)


def named_by(output: Path | Sequence[Path] | None) -> dict[Target, Path]:
    """The names of files that are to be written, each by its target, in their order.

    Raises `UserError` for a suffix that no target's files have, and for two files of one target.
    """
    paths = [output] if isinstance(output, Path) else [*(output or ())]
    check_suffixes(paths)
    return {target_of(path): path for path in paths}


def targets_of(output: Path | Sequence[Path] | None, names: Sequence[str] = ()) -> tuple[Target, ...]:
    """The targets of files with these names, and those that are named besides; the first where there are none.

    Raises `UserError` for a name that no target has, and what `named_by` raises.
    """
    by_name, names = {one.name: one for one in TARGETS}, [names] if isinstance(names, str) else names
    if unknown := [name for name in names if name not in by_name]:
        known = ", ".join(f"{name} ({suffix})" for name, suffix in SUFFIXES.items())
        raise UserError(f"targets: {unknown[0]!r}: there is no such target; known are {known}")
    return tuple(dict.fromkeys((*named_by(output), *(by_name[name] for name in names)))) or TARGETS[:1]
