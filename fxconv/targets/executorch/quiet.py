"""What ExecuTorch says while it lowers, loads and runs, kept from the user's terminal, and its flatc within reach."""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any

# What a failure is told by, as the runtime prints it: "[XNNCompiler.cpp:1518] Failed to create cat2 node 8 ...".
_TELLING = ("Failed to ", "Missing operator", "Error setting input", "Attempted to", "failed: ", "Backend ")
# The first file that a process loads has it look for what the processor is, and say where it did not find it.
_OF_PROCESSOR = "[cpuinfo_utils.cpp"


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
    """What was printed so far, up to what a pipe holds."""

    def __init__(self, pipe: int | None, words: io.StringIO) -> None:
        self._pipe, self._words, self._read = pipe, words, b""

    def reason(self) -> str:
        """The line that says best why something failed; "" where none does."""
        with suppress(OSError):  # nothing more is there
            while self._pipe is not None and (more := os.read(self._pipe, 1 << 16)):
                self._read += more
        lines = (self._read.decode("utf-8", "replace") + self._words.getvalue()).splitlines()
        told = [line for line in lines if any(word in line for word in _TELLING) and not line.startswith(_OF_PROCESSOR)]
        found = [line.partition("] ")[2] or line for line in told]
        return found[0].strip() if found else ""


@contextmanager
def _stderr_kept() -> Iterator[Said]:
    """The runtime prints past Python: the descriptor itself is another file for as long.

    It is a pipe, as a process with limits can write no file. What does not fit in is lost, and nobody waits.
    """
    words = io.StringIO()  # its bindings print by way of Python
    sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:  # no stderr at all
        yield Said(None, words)
        return
    reading, writing = os.pipe()
    try:
        for end in (reading, writing):
            os.set_blocking(end, False)
        os.dup2(writing, 2)
        with redirect_stderr(words):
            yield Said(reading, words)
    finally:
        os.dup2(before, 2)
        for end in (before, reading, writing):
            os.close(end)


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
