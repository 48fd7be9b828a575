"""Progress on a screen: the step among all steps, a bar, how many are done, how fast, and the time that is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from fxconv.progress import Progress, Steps

# What is counted in steps whose name does not say it.
_UNITS = {"calibration": "images", "reading images": "images", "fidelity": "images", "recipe": "trials"}
_WIDTH = 20


class How(ProgressColumn):
    """`40/100  8.1 images/s  7 s left` of a step that counts; of any other the seconds that it has taken."""

    def render(self, task: Task) -> Text:
        """The words of one bar."""
        if task.total is None:
            return Text(_seconds(task.elapsed or 0.0), "dim")
        words = [f"{task.completed:.0f}/{task.total:.0f}"]
        if task.speed:
            words.append(f"{task.speed:.1f} {_UNITS.get(task.fields['step'], '')}/s".replace(" /", "/"))
        if task.time_remaining is not None and not task.finished:
            words.append(f"{_seconds(task.time_remaining)} left")
        return Text("  ".join(words))


def _seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"


@contextmanager
def bars(steps: Steps, screen: Console) -> Iterator[Progress]:
    """A bar on `screen` while the block runs, of which nothing is left after it."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(_WIDTH), How())
    with Bars(*columns, console=screen, transient=True) as shown:
        task = shown.add_task(steps.name, total=None, step=steps.step)

        def tell(step: str, done: int, total: int) -> None:
            nonlocal task
            before = (steps.step, steps.number)
            steps.tell(step, done, total)
            done, most = steps.count or (0, None)
            if (steps.step, steps.number) == before:
                shown.update(task, completed=done, total=most)
            else:  # another step has a rate of its own
                shown.remove_task(task)
                task = shown.add_task(steps.name, completed=done, total=most, step=step)

        yield tell
