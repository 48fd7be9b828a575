"""The steps of a conversion: how long each takes, and the function that receives progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, how much of it is done, and how much there is."""


def conversion_phases(
    is_dynamic: bool = False, is_tried: bool = True, is_trained: bool = False, is_judged: bool = False
) -> tuple[str, ...]:
    """The steps of a conversion in the order in which each comes first; what comes between belongs to the last of them.

    `is_dynamic` says that nothing is calibrated, `is_tried` that steps of a recipe are, `is_trained` that the model is
    fine-tuned, `is_judged` that int8 is judged on images held out.
    """
    if is_dynamic:
        return ("loading", "reading images", "rewriting", "conversion", "fidelity", "lowering", "latency")
    on_request = {"recipe": is_tried, "training": is_trained, "judging": is_judged}
    asked = tuple(name for name, is_asked in on_request.items() if is_asked)
    return ("loading", "reading images", "rewriting", "calibration", *asked, "fidelity", "lowering", "latency")


class Steps:
    """How far a command has come, from the names of steps and their counts alone.

    `phases` are steps by the order in which each comes first; empty where that is not known. `number` is that of the
    phase that was reached, from 1. A step that is entered again without a count keeps the one it had in this phase.
    """

    def __init__(self, phases: Sequence[str] = ()) -> None:
        self.phases = tuple(phases)
        self.step, self.number = "starting", 0
        self._counts: dict[str, tuple[int, int]] = {}

    def tell(self, step: str, done: int, total: int) -> None:
        """What a `Progress` is called with."""
        if step in self.phases[self.number :]:
            self.number = self.phases.index(step) + 1
            self._counts = {}
        self.step = step
        if total > 1:
            self._counts[step] = (done, total)

    @property
    def count(self) -> tuple[int, int] | None:
        """How much of the step is done, and how much there is; None where nobody says."""
        return self._counts.get(self.step)

    @property
    def name(self) -> str:
        """The step, with its place among all of them where that is known: `step 4 of 8: calibration`."""
        return f"step {self.number} of {len(self.phases)}: {self.step}" if self.number else self.step


class Clock:
    """Seconds a step; a step entered again adds up. `before` are those of steps that are over."""

    def __init__(self, progress: Progress, before: Mapping[str, float] | None = None) -> None:
        self.seconds: dict[str, float] = dict(before or {})
        self.progress = progress
        self._start = time.perf_counter() - sum(self.seconds.values())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name, 0, 1)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def total(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self._start}
