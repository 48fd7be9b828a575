"""Where an error was raised, as a person would say it."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import torch

# How `where` words it; what follows in a message is behind a colon.
_WORDED = re.compile(r"\S+:\d+ \(.*?\)(?=: |$)")


def where(error: BaseException) -> str:
    """`file.py:line (code)` of the innermost frame outside torch.fx and this file."""
    frames = traceback.extract_tb(error.__traceback__)
    inside_torch = tuple(f"{Path(file).parent}/" for file in (torch.__file__, __file__))
    own = [frame for frame in frames if not frame.filename.startswith(inside_torch)] or list(frames)
    frame = own[-1]
    return f"{short(frame.filename)}:{frame.lineno} ({frame.line})"


def short(filename: str) -> str:
    """A file's path as a person would give it: inside its package, below the current folder, or its name."""
    path = Path(filename)
    for packages in ("site-packages", "dist-packages"):
        if packages in path.parts:
            return "/".join(path.parts[path.parts.index(packages) + 1 :])
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.name


def place_in(message: str) -> str:
    """What `where` said, in a message that it went into: `file.py:line (code)`; "" when it is not there."""
    found = _WORDED.search(message)
    return found[0] if found else ""
