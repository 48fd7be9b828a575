"""Progress for who calls fxconv from Python: in a notebook, on a terminal, or as lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fxconv.inspection.printable import visible
from fxconv.progress import Progress
from fxconv.report.html.markup import element, text

# The least time between two updates of the progress shown in a notebook, in seconds.
_OFTEN = 0.2


@contextmanager
def shown(wanted: bool | None) -> Iterator[Progress]:
    """A display of progress, gone when the block ends; with None only where somebody watches."""
    notebook = _notebook()
    if not (is_watched() if wanted is None else wanted):
        yield lambda step, done, total: None
    elif notebook is not None:
        yield from _in_notebook(notebook)
    elif sys.stderr.isatty():
        yield from _on_terminal()
    else:
        yield _lines()


def is_watched() -> bool:
    """Whether Python runs in a notebook, or somebody types into it on a terminal; scripts are silent."""
    return _notebook() is not None or (hasattr(sys, "ps1") and sys.stderr.isatty())


def words(step: str, done: int, total: int) -> str:
    """What is being done, and how far."""
    return visible(f"{step}: {done} of {total}" if total > 1 else step)


def _notebook() -> Any:
    """IPython's display module where a notebook's kernel runs this; None elsewhere. IPython is not imported for it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return sys.modules.get("IPython.display") if hasattr(shell, "kernel") else None


def _in_notebook(notebook: Any) -> Iterator[Progress]:
    """One line below the cell. rich would want ipywidgets for it, which not every notebook has."""
    handle = notebook.display(notebook.HTML(""), display_id=True)
    last = ("", 0.0)

    def show(step: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if step == last[0] and now - last[1] < _OFTEN:
            return
        last = (step, now)
        share = {"value": done, "max": total} if total > 1 else {}
        handle.update(notebook.HTML(f"{element('progress', '', **share)} {text(words(step, done, total))}"))

    try:
        yield show
    finally:
        handle.update(notebook.HTML(""))


def _on_terminal() -> Iterator[Progress]:
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    from fxconv.report.screen import Screen

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Screen(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda step, done, total: bars.update(
            task, description=step, completed=done, total=total if total > 1 else None
        )


def _lines() -> Progress:
    """A line for each step."""
    last = ""

    def show(step: str, done: int, total: int) -> None:
        nonlocal last
        if step != last:
            print(words(step, 0, 1), file=sys.stderr, flush=True)
        last = step

    return show
