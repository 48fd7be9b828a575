"""Ctrl-C, a request to terminate, a closed terminal: requests to stop, each with its own word and exit status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
_NUMBERS = [getattr(signal, name) for name in _WORDS if hasattr(signal, name)]


class Stops:
    """The requests to stop that this process gets while it listens, which only its main thread can."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def listen(self) -> None:
        """From now on each request raises KeyboardInterrupt. What was ignored at the start stays so (nohup)."""
        self.received = None
        for number in _NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        sys.unraisablehook = self._unraisable

    def end(self) -> None:
        """Listen no more, and do not die of a request either: the work is over and the process ends."""
        for number in _NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def check(self) -> None:
        """Raise again what code in between swallowed: a destructor cannot raise, and C++ makes other errors of it."""
        if self.received is not None:
            raise KeyboardInterrupt

    @property
    def status(self) -> int:
        """The exit status shells give a process that this signal killed: 130, 143 or 129."""
        return 128 + (self.received or signal.SIGINT)

    @property
    def word(self) -> str:
        """What happened, in a word."""
        return _WORDS[(self.received or signal.SIGINT).name]

    def _stop(self, number: int, frame: FrameType | None) -> NoReturn:
        self.received = self.received or signal.Signals(number)
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: Any) -> None:
        if self.received is None:
            sys.__unraisablehook__(unraisable)


STOPS = Stops()
STOPPED = "what was not finished was not written"


@contextmanager
def stops_in_one_line() -> Iterator[None]:
    """For the imports that come before `main`, and take long enough for a Ctrl-C: it ends the process in one line."""
    try:
        yield
    except KeyboardInterrupt:
        STOPS.end()
        print(f"fxconv: error: {STOPS.word}; {STOPPED}", file=sys.stderr)
        raise SystemExit(STOPS.status) from None
