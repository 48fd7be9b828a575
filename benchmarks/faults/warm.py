"""Runs tests in forks of a process that has torch imported, which takes longer than most tests do.

    python benchmarks/faults/warm.py torch torchvision

Every line on stdin is a run, as JSON: pytest's arguments, a file for what it prints, and how many seconds it may take.
The answer is a line with pytest's exit status, or "time" when they were over. The folder it is started in goes before
all others that Python looks for modules in.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path


def main() -> None:
    sys.path[0] = str(Path.cwd())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # by way of `run`, which ends what it started
    for name in ("pytest", *sys.argv[1:]):
        importlib.import_module(name)
    for line in sys.stdin:
        arguments, output, seconds = json.loads(line)
        print(json.dumps(run(arguments, output, seconds)), flush=True)


def run(arguments: list[str], output: str, seconds: float) -> int | str:
    """pytest in a fork, which nothing that it starts outlives; its exit status, or "time"."""
    process = os.fork()
    if not process:
        _be_pytest(arguments, output)
    end, ended = time.monotonic() + seconds, (0, 0)
    try:
        while ended[0] == 0 and time.monotonic() < end:
            time.sleep(0.01)
            ended = os.waitpid(process, os.WNOHANG)
    finally:
        with suppress(ProcessLookupError):  # all of its group may have ended
            os.killpg(process, signal.SIGKILL)
    if ended[0] == 0:
        os.waitpid(process, 0)
        return "time"
    return os.waitstatus_to_exitcode(ended[1])


def _be_pytest(arguments: list[str], output: str) -> None:
    status = 70  # what pytest never returns
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for place, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), file, file)):
            os.dup2(descriptor, place)
        import pytest

        status = int(pytest.main(arguments))
        sys.stdout.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
