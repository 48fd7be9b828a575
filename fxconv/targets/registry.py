"""The targets there are, and which of them a file name asks for."""

from __future__ import annotations

from pathlib import Path

from fxconv.targets.mobile.target import MOBILE
from fxconv.targets.target import Target

# The first is written where nothing else is said.
TARGETS: tuple[Target, ...] = (MOBILE,)


def target_of(path: Path | None = None) -> Target:
    """The target whose files end like this one; the first where none does, or there is no name yet."""
    suffix = path.suffix.lower() if path is not None else ""
    return next((one for one in TARGETS if one.suffix == suffix), TARGETS[0])
