"""The command line, to which something happens at a moment of its own: for robustness.py.

    python benchmarks/at_moment.py MOMENT ACTION WORDS...

MOMENT is `import MODULE`, a step the conversion announces, `write`, `fsync`, `rename`, `renamed`, or `after SECONDS`.
ACTION is a signal the process sends itself, or a shell command. It happens once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))


class Event:
    """What happens, the first time it is called."""

    def __init__(self, action: str) -> None:
        self.action = action
        self.happened = False

    def __call__(self) -> None:
        if self.happened:
            return
        self.happened = True
        if self.action.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.action))
        else:
            subprocess.run(self.action, shell=True, check=True)


class OnImport:
    """A finder that finds nothing, and sees which module is looked for."""

    def __init__(self, module: str, event: Event) -> None:
        self.module, self.event = module, event

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == self.module:
            self.event()


def on_step(name: str, event: Event) -> None:
    """Let `event` happen when the conversion announces the step `name`."""
    from fxconv.cli import terminal

    real = terminal._bars

    @contextmanager
    def bars(quiet: bool):
        with real(quiet) as show:

            def shown(step: str, done: int, total: int) -> None:
                show(step, done, total)
                if step == name:
                    event()

            yield shown

    terminal._bars = bars


def on_file(step: str, event: Event) -> None:
    """Let `event` happen while a file is written: half of it, before its fsync, before or after it is renamed."""
    from fxconv.data import staged_file

    write, fsync, replace = staged_file.StagedFile._write, os.fsync, Path.replace

    def half(self: Any, data: bytes) -> None:
        if data:  # whether a file can be made at all is tried before, with an empty one
            self._file.write(data[: len(data) // 2])
            event()
            self._file.seek(0)
        write(self, data)

    def synced(file: Any) -> None:
        if file.tell():
            event()
        fsync(file)

    def renamed(self: Path, target: Path) -> Path:
        if step == "rename":
            event()
        done = replace(self, target)
        if step == "renamed":
            event()
        return done

    patches: dict[str, Callable[[], None]] = {
        "write": lambda: setattr(staged_file.StagedFile, "_write", half),
        "fsync": lambda: setattr(staged_file.os, "fsync", synced),
        "rename": lambda: setattr(Path, "replace", renamed),
        "renamed": lambda: setattr(Path, "replace", renamed),
    }
    patches[step]()


def main() -> None:
    moment, action, *words = sys.argv[1:]
    event = Event(action)
    kind, _, detail = moment.partition(" ")
    if kind == "import":
        sys.meta_path.insert(0, OnImport(detail, event))
    elif kind == "after":
        timer = threading.Timer(float(detail), event)
        timer.daemon = True
        timer.start()
    elif moment in ("write", "fsync", "rename", "renamed"):
        on_file(moment, event)
    else:
        on_step(moment, event)
    sys.argv = ["fxconv", *words]
    from fxconv.cli.app import main as command_line

    command_line()


if __name__ == "__main__":
    main()
