"""What the tools of a target say while they export, load and run, kept from the user's terminal."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress

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
        with warnings.catch_warnings(), _stderr_kept() as said:
            warnings.simplefilter("ignore")
            yield said
    finally:
        # executorch, for one, sets the root logger up when it is imported.
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
