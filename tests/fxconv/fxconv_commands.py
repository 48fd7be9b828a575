"""The command line, in this process and as one of its own, and what one run of it left."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fxconv_networks
import pytest

from fxconv.cli import app

REPO = Path(__file__).resolve().parents[2]
NETWORKS = Path(fxconv_networks.__file__).resolve()
SMALL = (f"{NETWORKS}:tiny", "--input-size", "3x32x32", "--calib-count", "8")
PLAIN = (*SMALL, "--recipe", "none")


_PROGRESS = re.compile(r"^fxconv: (?!error: ).*, \d+ s\n", re.MULTILINE)


def without_progress(stderr: str) -> str:
    """What a command printed on stderr, less the lines of progress: how many there are the machine decides."""
    return _PROGRESS.sub("", stderr)


@dataclass(frozen=True)
class Run:
    """One finished command: its exit status, what it printed where, progress left out, and the folder it ran in."""

    status: int
    stdout: str
    stderr: str
    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "stderr", without_progress(self.stderr))

    @property
    def files(self) -> list[str]:
        """The names of all files in the folder, hidden ones too."""
        return sorted(path.name for path in self.folder.iterdir())

    @property
    def report(self) -> dict[str, Any]:
        """The JSON report, written by `--json report.json`."""
        return json.loads((self.folder / "report.json").read_text())


def run_process(folder: Path, *words: str) -> Run:
    """`python cli.py WORDS` in `folder`, as a process with pipes for its output."""
    environment = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "NO_COLOR")}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, str(REPO / "cli.py"), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr, folder)


Command = Callable[..., Run]


@contextmanager
def own_signals() -> Iterator[None]:
    """The handlers of signals, which a finished command leaves switched off, are put back afterwards.

    At first they are those of a program in the foreground: a job in the background would ignore Ctrl-C.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    hook = sys.unraisablehook
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def run_here(folder: Path, *words: str) -> Run:
    """`python cli.py WORDS` in `folder`, in this process, for a fixture that several tests share."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, own_signals(), redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["fxconv", *words])
        with pytest.raises(SystemExit) as end:
            app.main()
    return Run(int(end.value.code or 0), out.getvalue(), err.getvalue(), folder)


def assert_user_error(run: Run, *fragments: str) -> None:
    """Status 2, one line on stderr that names what is wrong, and nothing written."""
    assert run.status == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith("fxconv: error: ")
    assert "Traceback" not in run.stderr
    for fragment in fragments:
        assert fragment in run.stderr
    assert not [name for name in run.files if name.endswith((".ptl", ".part", "report.json"))]
