"""Progress on a screen: the step among all steps, how many are done, how fast, and the time that is left."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console
from rich.progress import Progress, Task

from fxconv.cli import terminal
from fxconv.cli.progress_bars import How, bars
from fxconv.progress import Steps


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def told(steps: list[tuple[str, int, int, float]]) -> str:
    """The words beside the bar after these calls: a step, what is done of it, what there is, and how long that took."""
    clock = Clock()
    shown = Progress(How(), console=Console(file=io.StringIO()), get_time=clock, auto_refresh=False)
    number = shown.add_task("", total=None, step="")
    for step, done, total, seconds in steps:
        clock.now += seconds
        shown.update(number, completed=done, total=total or None, step=step)
    task: Task = shown.tasks[0]
    return How().render(task).plain


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([("calibration", 0, 100, 0), ("calibration", 10, 100, 1), ("calibration", 20, 100, 1)],
         "20/100  10.0 images/s  8 s left"),
        ([("recipe", 0, 7, 0), ("recipe", 1, 7, 20), ("recipe", 2, 7, 20)], "2/7  0.1 trials/s  1:40 min left"),
        ([("running", 0, 4, 0), ("running", 2, 4, 1), ("running", 4, 4, 1)], "4/4  2.0/s"),
        ([("lowering", 0, 0, 0), ("lowering", 0, 0, 61)], "1:01 min"),
        ([("lowering", 0, 0, 3)], "3 s"),
    ],
)  # fmt: skip
def test_count_rate_and_time_left(steps, words):
    assert told(steps) == words


def test_the_screen_shows_the_step_among_all_and_is_left_clean():
    stream = io.StringIO()
    screen = Console(file=stream, force_terminal=True, width=80, color_system=None, legacy_windows=False)
    steps = Steps(("loading", "calibration", "lowering"))
    with bars(steps, screen) as show:
        show("loading", 0, 1)
        show("calibration", 40, 100)
    printed = stream.getvalue()
    assert "step 2 of 3: calibration" in printed and "40/100" in printed
    assert printed.endswith("\x1b[2K")
    assert max(len(line) for line in printed.replace("\r", "\n").splitlines()) <= 120


def test_a_step_without_a_count_has_none_of_the_step_before():
    stream = io.StringIO()
    with bars(Steps(("calibration",)), Console(file=stream, force_terminal=True, width=80, color_system=None)) as show:
        show("calibration", 100, 100)
        show("audit", 0, 1)
    last = stream.getvalue().rpartition("audit")[2]
    assert "0/100" not in last and " 0 s" in last


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_warning_stands_on_a_line_of_its_own_above_the_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with terminal.progress(False, ("loading",)) as show:
        show("loading", 0, 1)
        terminal.warn("random weights")
    assert "\x1b[2Kwarning: random weights\n" in _without_colours(screen.getvalue())


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
