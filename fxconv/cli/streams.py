"""stdout and stderr as they really are: closed, a pipe nobody reads any more, or shared with libraries that talk."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any, TextIO, cast


def open_closed() -> None:
    """Give a stdin, stdout or stderr that is closed to the null device.

    The next file opened would get its number, and whatever a library prints would land in an artifact.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def print_anything() -> None:
    """Escape on stdout what its encoding lacks, as stderr does by itself: a file's name may hold any character."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write out what was printed. Raises OSError when nobody takes stdout; Python's own last flush then succeeds."""
    with suppress(OSError):
        _flush(sys.stderr)
    _flush(sys.stdout)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        _abandon(stream)
        raise


def _abandon(stream: TextIO) -> None:
    """Let what is still written to `stream` go nowhere."""
    with suppress(OSError, ValueError):  # a stream that is no file has no number
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hold back what libraries say beside what they return or raise: stderr carries fxconv's own words only.

    Python's warnings come through when -W or PYTHONWARNINGS asks for them.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read when torch is imported
    silent = logging.NullHandler()  # without any handler Python prints what is logged
    logging.getLogger().addHandler(silent)
    try:
        with warnings.catch_warnings(), redirect_stderr(cast(TextIO, _WithoutTracebacks(sys.stderr))):
            if not sys.warnoptions:
                warnings.showwarning = _show_nothing
            yield
    finally:
        logging.getLogger().removeHandler(silent)


def _show_nothing(*_: Any, **__: Any) -> None:
    pass


class _WithoutTracebacks:
    """stderr, less the traceback that a GraphModule prints before it raises the very same error."""

    _MARK = "Call using an FX-traced Module"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._dropped = False

    def write(self, text: str) -> int:
        dropped, self._dropped = self._dropped, self._MARK in text
        if self._dropped or (dropped and text == "\n"):  # print writes the end of its line by itself
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
