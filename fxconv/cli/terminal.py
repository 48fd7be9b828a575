"""What people see while a command runs: results on stdout, warnings and progress on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from fxconv import errors
from fxconv.cli.signals import STOPS
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


def warn(message: str) -> None:
    """A warning on stderr. When nobody reads it the work goes on: the artifact is what was asked for."""
    with suppress(OSError):
        say(console(stderr=True), Text.assemble(("warning: ", "bold yellow"), message))


@contextmanager
def progress(quiet: bool) -> Iterator[Show]:
    """A progress display on stderr; on a pipe, and with `quiet`, nothing.

    What is yielded is told the step, how much of it is done and how much there is. Between two calls a request to
    stop that a library swallowed is raised again. A fault of fxconv's leaves as an `InternalError` of that step.
    """
    step = "starting"
    with _bars(quiet) as show, errors.stage(lambda: step):

        def follow(name: str, done: int, total: int) -> None:
            nonlocal step
            step = name
            STOPS.check()
            show(name, done, total)

        yield follow
        STOPS.check()


@contextmanager
def _bars(quiet: bool) -> Iterator[Show]:
    screen = console(stderr=True)
    if quiet or not screen.is_terminal:
        yield lambda step, done, total: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def show(step: str, done: int, total: int) -> None:
            bars.update(task, description=step, completed=done, total=total if total > 1 else None)

        yield show
