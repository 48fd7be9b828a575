"""Whose fault an error is: the code that raised it, and whether memory ran out."""

from __future__ import annotations

import errno
import importlib.util
import sys
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

from fxconv.diagnostics.known_errors import BY_NAME

_OWN = ("fxconv", "rewrites")
# Libraries whose frames say nothing about whose fault an error is: whoever called them decides.
_LIBRARIES = ("torch", "torchvision", "numpy", "PIL", "rich", "typer")
# What calls the forward of a module, and where; torch itself takes a second to import, which no help page has.
_CALL, _MODULES = "_call_impl", "torch/nn/modules/module.py"
OUT_OF_MEMORY = BY_NAME["out-of-memory"]


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.matches(str(error))


def blamed(trace: TracebackType | None, called: str = "") -> traceback.FrameSummary | None:
    """The innermost frame, past those of Python and the libraries fxconv stands on; None when it is fxconv's own.

    Where code of the user's calls a file of fxconv's, `called`, it is the frame of the call.
    """
    frames = traceback.extract_tb(trace)
    if called:
        end = next((place for place, frame in enumerate(frames) if frame.filename == called), len(frames))
        frames = traceback.StackSummary.from_list(list(frames[:end]))
    place = _place(frames)
    return None if place is None else frames[place]


def blamed_forward(trace: TracebackType | None) -> traceback.FrameSummary | None:
    """The same frame, if it runs in the forward of a module: no loader of images or metric of the user's own does."""
    frames = traceback.extract_tb(trace)
    place = _place(frames)
    if place is None or not any(frame.name == _CALL and frame.filename.endswith(_MODULES) for frame in frames[:place]):
        return None
    return frames[place]


def _place(frames: traceback.StackSummary) -> int | None:
    own, libraries, python = _folders(_OWN), _folders(_LIBRARIES), sysconfig.get_path("stdlib")
    for place, frame in reversed(list(enumerate(frames))):
        file = frame.filename
        if file.startswith(own):
            return None
        pythons = file.startswith(python) and "site-packages" not in Path(file).parts
        if not (pythons or file.startswith((*libraries, "<"))):  # in brackets: code that was made while running
            return place
    return None


def _folders(packages: tuple[str, ...]) -> tuple[str, ...]:
    # None stands in sys.modules for what must not be imported
    modules = {name: sys.modules[name] for name in packages if name in sys.modules}
    specs = [
        getattr(modules[name], "__spec__", None) if name in modules else importlib.util.find_spec(name)
        for name in packages
    ]
    return tuple(f"{folder}/" for spec in specs if spec for folder in spec.submodule_search_locations or ())
