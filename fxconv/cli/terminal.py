"""What people see while a command runs: results on stdout, warnings and progress on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from rich.console import Console
from rich.text import Text

from fxconv import errors
from fxconv.cli.progress_bars import bars
from fxconv.cli.progress_lines import lines
from fxconv.cli.signals import STOPS
from fxconv.progress import Steps
from fxconv.report.screen import Screen
from fxconv.report.tables import say

Show = Callable[[str, int, int], None]


class _Console(Screen):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError  # rich would end the process here, with the status of a failed check


def console(stderr: bool = False) -> Console:
    """A console that honours NO_COLOR and pipes.

    A pipe gets lines as wide as they are, one for each fact, so that grep finds it whole; where COLUMNS says how wide
    they may be, as wide as that.
    """
    stream = sys.stderr if stderr else sys.stdout
    is_told = os.environ.get("COLUMNS", "").isdigit()
    return _Console(stderr=stderr, width=None if stream.isatty() or is_told else 10_000)


# The screen on which a bar is moving: what else is printed there has to go above it.
_BUSY: list[Console] = []


def warn(message: str) -> None:
    """A warning on stderr. When nobody reads it the work goes on: the artifact is what was asked for."""
    with suppress(OSError):
        screen = _BUSY[-1] if _BUSY else console(stderr=True)
        say(screen, Text.assemble(("warning: ", "bold yellow"), message))


@contextmanager
def progress(quiet: bool, phases: Sequence[str] = ()) -> Iterator[Show]:
    """Progress on stderr: a bar on a terminal, a plain line every few seconds elsewhere; with `quiet`, nothing.

    What is yielded is told the step, how much of it is done and how much there is; `phases` are the steps by the order
    in which each comes first, where that is known. Between two calls a request to stop that a library swallowed is
    raised again. A fault of fxconv's leaves as an `InternalError` of that step.
    """
    step = "starting"
    with _bars(quiet, phases) as show, errors.stage(lambda: step):

        def follow(name: str, done: int, total: int) -> None:
            nonlocal step
            step = name
            STOPS.check()
            show(name, done, total)

        yield follow
        STOPS.check()


@contextmanager
def _bars(quiet: bool, phases: Sequence[str] = ()) -> Iterator[Show]:
    screen, steps = console(stderr=True), Steps(phases)
    if quiet:
        yield lambda step, done, total: None
        return
    if not screen.is_terminal:
        with lines(steps, sys.stderr) as show:
            yield show
        return
    with bars(steps, screen) as show:
        _BUSY.append(screen)
        try:
            yield show
        finally:
            _BUSY.pop()
