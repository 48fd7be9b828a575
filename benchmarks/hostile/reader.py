"""A process that reads files with a command, under an audit hook: for fuzz.py.

    python benchmarks/hostile/reader.py FOLDER COMMAND WORDS...

It reads the good files in FOLDER, one of each runtime, and a file that is not there, so that all is imported and it is
known what the command does by itself. Then it reads each file whose path comes on stdin, and answers with a line of
JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len

_ADDRESS = re.compile(r"0x[0-9a-f]+")
# What says every few seconds that a command goes on; a slow machine has more of it.
_PROGRESS = re.compile(r"^fxconv: (?!error: ).*, \d+ s\n", re.MULTILINE)


class Watch:
    """What Python was asked to do while it is on, of all that which reading a file has no need of."""

    _RUNS = (
        *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "ctypes.", "socket."),
        *("pickle.find_class", "exec", "compile", "code.__new__", "marshal.loads", "import"),
    )
    _CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.")

    def __init__(self) -> None:
        self.on = self.learns = False
        self.known: set[tuple[str, str]] = set()
        self.seen: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple) -> None:
        if not (self.on and event.startswith(("open", *self._RUNS, *self._CHANGES))):
            return
        asked = (event, " ".join(map(str, arguments)) if event == "compile" else _ADDRESS.sub("", str(arguments)))
        if self.learns:
            self.known.add(asked)
        elif event not in ("compile", "exec", "import") or asked not in self.known:
            self._judge(event, arguments)

    def _judge(self, event: str, arguments: tuple) -> None:
        if event == "subprocess.Popen" and _is_fxconvs(arguments[1]):
            return
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or any(letter in (mode or "") for letter in "wax+")
            if writes and path != os.devnull and not isinstance(path, int):  # what has a number is open already
                self.seen.append("wrote")
        elif event.startswith(self._RUNS):
            self.seen.append("ran")
        elif event.startswith(self._CHANGES):
            self.seen.append("wrote")


# What a process that fxconv starts begins with: the same watch in it, which ends it.
_GUARD = """
import os, sys
sys.dont_write_bytecode = True
def see(event, arguments):
    if event == "open" and (arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        if arguments[0] != os.devnull and not isinstance(arguments[0], int):
            os.write(2, str((event, arguments)).encode())
            os._exit(77)
    if event.startswith(("os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")):
        os.write(2, str((event, arguments)).encode())
        os._exit(77)
import tempfile
import torch
tempfile.gettempdir()  # tries where it may write; torch asks for it when ExecuTorch's runtime is imported
sys.addaudithook(see)
"""


def _is_fxconvs(words: Sequence[str]) -> bool:
    """Whether this starts a function of fxconv's in a process of its own, under the guard."""
    begins = [sys.executable, "-I", "-W", "ignore", "-c"]
    return list(words[: len(begins)]) == begins and words[len(begins)].startswith(_GUARD)


def guard() -> None:
    """Put the guard in front of what such processes run, where the command has any."""
    own_process = sys.modules.get("fxconv.targets.own_process")
    if own_process is not None:
        own_process._START = _GUARD.replace("{", "{{").replace("}", "}}") + own_process._START


def main() -> None:
    folder, *command = sys.argv[1:]
    good = sorted(map(str, Path(folder).iterdir()))
    watch, answers = Watch(), sys.stdout
    for path in good:
        run(command, path)
    guard()
    cell_len("\u6a21")  # rich reads its table of wide characters when it meets the first
    b"x".decode("cp437")  # as zipfile does with the first name in it
    watch.on = watch.learns = True
    for path in (*good, "nowhere"):
        run(command, path)
    watch.learns = False
    for line in sys.stdin:
        watch.seen, watch.on, begin = [], True, time.perf_counter()
        found = outcomes(*run(command, line.rstrip("\n")))
        seconds, watch.on = time.perf_counter() - begin, False
        told = {"outcomes": [*found, *dict.fromkeys(watch.seen)], "seconds": seconds, "memory": memory()}
        print(json.dumps(told), file=answers, flush=True)


def memory() -> int:
    """The most this process had so far, in kB; what the system counts for its parent is not in it."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def run(command: Sequence[str], path: str) -> tuple[int, str, str]:
    """The command line in this process: its exit status, stdout and stderr."""
    from fxconv.cli import app

    sys.argv = ["fxconv", *command, path]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app.main()
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), err.getvalue()
        except BaseException as error:
            return 1, out.getvalue(), f"Traceback: {error!r}"


def outcomes(status: int, out: str, err: str) -> list[str]:
    """What came of a file: read or refused, and what must not have happened."""
    found = ["refused" if status == 2 else "read"]
    if "Traceback" in err or "INTERNAL ERROR" in err or status not in (0, 1, 2):
        found.append("traceback" if status >= 0 else "crash")
    if any(not letter.isprintable() and letter != "\n" for letter in out + err):
        found.append("escape")
    told = _PROGRESS.sub("", err)
    if status == 2 and (told.count("\n") != 1 or out or not told.startswith("fxconv: error: ")):
        found.append("words")
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
