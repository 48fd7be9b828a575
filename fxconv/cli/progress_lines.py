"""Progress where nobody looks at a screen: a plain line every few seconds, so that a log shows that work goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from fxconv.progress import Progress, Steps

# What is over sooner says nothing.
EVERY = 5.0


def line(steps: Steps, seconds: float) -> str:
    """`fxconv: step 4 of 8: calibration 40 of 100, 12 s`, the seconds since the command began."""
    done = f" {steps.count[0]} of {steps.count[1]}" if steps.count is not None else ""
    return f"fxconv: {steps.name}{done}, {seconds:.0f} s\n"


def tell(
    steps: Steps, stream: TextIO, is_over: Callable[[float], bool], clock: Callable[[], float] = time.monotonic
) -> None:
    """Write a line every few seconds until the work is over, or nobody reads them any more.

    `is_over` waits for so many seconds, or to the end of the work, and says which it was. A line is one call of
    `write`: it stands between what others write, and never in it.
    """
    began = clock()
    while not is_over(EVERY):
        try:
            stream.write(line(steps, clock() - began))
            stream.flush()
        except (OSError, ValueError):  # a pipe nobody reads, or a stream that was closed
            return


@contextmanager
def lines(steps: Steps, stream: TextIO) -> Iterator[Progress]:
    """Lines on `stream` while the block runs, and none after it."""
    over = threading.Event()
    thread = threading.Thread(target=tell, args=(steps, stream, over.wait), name="fxconv progress", daemon=True)
    thread.start()
    try:
        yield steps.tell
    finally:
        over.set()
        thread.join()
