"""Progress in a pipe: a plain line every few seconds, none of a quick command, and none after its end."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable

import pytest
from fxconv_commands import PLAIN

from fxconv.cli import progress_lines, terminal
from fxconv.cli.progress_lines import EVERY, line, lines, tell
from fxconv.progress import Steps


class Work:
    """A clock that stands still, and work that does its next step whenever somebody waits for it."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self.now, self.steps = 100.0, list(steps)

    def is_over(self, seconds: float) -> bool:
        self.now += seconds
        if self.steps:
            self.steps.pop(0)()
            return False
        return True


def test_a_line_says_the_step_its_count_and_the_seconds():
    steps = Steps(("loading", "calibration"))
    steps.tell("calibration", 40, 100)
    assert line(steps, 12.3) == "fxconv: step 2 of 2: calibration 40 of 100, 12 s\n"
    steps = Steps()
    steps.tell("replaying golden inputs", 0, 1)
    assert line(steps, 5.0) == "fxconv: replaying golden inputs, 5 s\n"


def test_there_is_a_line_every_few_seconds_whether_or_not_a_step_is_told():
    steps, stream = Steps(("loading", "calibration", "lowering")), io.StringIO()
    work = Work(
        lambda: steps.tell("loading", 0, 1), lambda: steps.tell("calibration", 8, 20), lambda: None,
        lambda: steps.tell("lowering", 0, 1),
    )  # fmt: skip
    tell(steps, stream, work.is_over, lambda: work.now)
    assert stream.getvalue().splitlines() == [
        "fxconv: step 1 of 3: loading, 5 s",
        "fxconv: step 2 of 3: calibration 8 of 20, 10 s",
        "fxconv: step 2 of 3: calibration 8 of 20, 15 s",
        "fxconv: step 3 of 3: lowering, 20 s",
    ]
    assert EVERY == 5.0


def test_what_is_over_within_that_says_nothing():
    work, stream = Work(), io.StringIO()
    tell(Steps(), stream, work.is_over, lambda: work.now)
    assert stream.getvalue() == ""


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_stream_that_nobody_reads_ends_the_lines_and_not_the_work():
    work = Work(lambda: None, lambda: None)
    tell(Steps(), Closed(), work.is_over, lambda: work.now)
    assert len(work.steps) == 1


class Writes(io.StringIO):
    """Every call of `write`, on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, text: str) -> int:
        self.calls.append(text)
        return len(text)


def test_a_line_is_written_whole_and_none_after_the_end(monkeypatch):
    monkeypatch.setattr(progress_lines, "EVERY", 0.001)
    stream, written = Writes(), threading.Event()
    with lines(Steps(), stream) as show:
        show("calibration", 1, 2)
        while not stream.calls:
            written.wait(0.001)
    assert not [thread for thread in threading.enumerate() if thread.name == "fxconv progress"]
    assert all(text.startswith("fxconv: ") and text.count("\n") == 1 and text.endswith(" s\n") for text in stream.calls)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_command_in_a_pipe_has_lines_unless_it_is_quiet(quiet, monkeypatch):
    monkeypatch.setattr(progress_lines, "EVERY", 0.001)
    stream, waited = Writes(), threading.Event()
    monkeypatch.setattr(sys, "stderr", stream)
    with terminal.progress(quiet, ("loading",)) as show:
        show("loading", 0, 1)
        for _ in range(20 if quiet else 20_000):
            if stream.calls:
                break
            waited.wait(0.001)
    assert [text for text in stream.calls if "\x1b" in text or "\r" in text] == []
    assert bool(stream.calls) is not quiet


def test_a_conversion_in_a_pipe_tells_its_steps(command, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(progress_lines, "EVERY", 0.01)
    monkeypatch.setattr(progress_lines, "line", lambda steps, seconds: told.append(steps.name) or "")
    run = command("convert", *PLAIN)
    assert run.status == 0
    assert told and set(told) <= {"starting", *(name for name in told if name.startswith("step "))}
    assert all(" of 7: " in name for name in told if name != "starting")
