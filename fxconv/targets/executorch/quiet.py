"""What ExecuTorch says while it lowers, loads and runs, kept from the user's terminal, and its flatc within reach."""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import IO, Any

# What a failure is told by, as the runtime prints it: "[XNNCompiler.cpp:1518] Failed to create cat2 node 8 ...".
_TELLING = ("Failed to ", "Missing operator", "Error setting input", "Attempted to", "failed: ", "Backend ")


@contextmanager
def quiet() -> Iterator[Said]:
    """Within, neither warnings nor logs are heard, and what the runtime prints is kept for a message."""
    disabled, root = logging.root.manager.disable, logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), _flatc(), _stderr_kept() as said:
            warnings.simplefilter("ignore")
            yield said
    finally:
        # executorch sets the root logger up when it is imported.
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(disabled)


class Said:
    """What was printed so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def reason(self) -> str:
        """The line that says best why something failed; "" where none does."""
        self._file.seek(0)
        lines = self._file.read().decode("utf-8", "replace").splitlines()
        found = [line.partition("] ")[2] or line for line in lines if any(word in line for word in _TELLING)]
        return found[0].strip() if found else ""


class _Words(io.TextIOBase):
    """What the runtime's bindings print by way of Python: kept where something is kept, else printed.

    One for good: they hold on to the stderr that they were imported under, and end the process if it is closed.
    """

    file: IO[bytes] | None = None

    def write(self, text: str) -> int:
        """Keep or print a text."""
        if self.file is not None:
            self.file.write(text.encode())
        elif sys.__stderr__ is not None:
            sys.__stderr__.write(text)
        return len(text)


_WORDS = _Words()


@contextmanager
def _stderr_kept() -> Iterator[Said]:
    """The runtime prints past Python: the descriptor itself is another file for as long."""
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        try:
            before = os.dup(2)
        except OSError:  # no stderr at all
            yield Said(file)
            return
        os.dup2(file.fileno(), 2)
        outer, _WORDS.file = _WORDS.file, file
        try:
            with redirect_stderr(_WORDS):
                yield Said(file)
        finally:
            _WORDS.file = outer
            os.dup2(before, 2)
            os.close(before)


@contextmanager
def _flatc() -> Iterator[None]:
    """ExecuTorch 1.3 looks for flatc on the PATH; its own lies in the package."""
    before = os.environ.get("FLATC_EXECUTABLE")
    own = _own_flatc()
    if before is None and own is not None:
        os.environ["FLATC_EXECUTABLE"] = str(own)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("FLATC_EXECUTABLE", None)


def _own_flatc() -> Path | None:
    spec: Any = importlib.util.find_spec("executorch")
    places = (
        [] if spec is None else [Path(place) / "data" / "bin" / "flatc" for place in spec.submodule_search_locations]
    )
    return next((place for place in places if place.is_file()), None)
