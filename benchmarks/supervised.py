"""One Python process under a limit of time and of memory; what it took, and what ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_LOOK_SECONDS = 0.1
_LINUX = sys.platform == "linux"


@dataclass(frozen=True)
class Run:
    """`peak_mib` is the most memory the process ever held; `trouble` says why it failed, "" when it did not."""

    seconds: float
    peak_mib: float
    trouble: str


def run(
    words: Sequence[str],
    most_seconds: float = float("inf"),
    most_mib: float = float("inf"),
    environment: Mapping[str, str] | None = None,
    log: IO[str] | None = None,
) -> Run:
    """Run `python WORDS`, its output going to `log`, and kill it beyond a limit. Memory is limited on Linux only."""
    start, stopped = time.perf_counter(), ""
    output = log or subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=output,
        stderr=log,
        env={**os.environ, **(environment or {})},
    )
    limited = most_seconds < float("inf") or most_mib < float("inf")
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG if limited else 0)
        seconds = time.perf_counter() - start
        if pid:
            break
        if not stopped:
            if seconds > most_seconds:
                stopped = f"took more than {most_seconds:,.0f} s"
            elif (held := _resident_mib(process.pid)) > most_mib:
                stopped = f"needs more than {most_mib / 1024:.1f} GiB of memory ({held / 1024:.1f} when it was stopped)"
            if stopped:
                process.kill()
        time.sleep(_LOOK_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss / (1024 if _LINUX else 1024**2)
    return Run(seconds, peak, stopped or _ending(process.returncode))


def _ending(code: int) -> str:
    if code < 0:
        return f"ended by signal {-code} ({signal.Signals(-code).name})"
    return f"exit status {code}" if code else ""


def _resident_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):  # it has just ended, or this is no Linux
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2
