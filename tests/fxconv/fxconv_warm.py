"""Processes that need not import torch: each is forked from one that has.

For work that fxconv gives to a process of its own, because it may crash, hang or fill the memory there; what is of
interest is how it ends, and not how it starts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fxconv_commands import REPO, Run

# Reads programs from a socket, with the files that become stdin, stdout and stderr; tells each one's number and status.
_SERVER = f"""
import gc, json, os, socket, sys, traceback
sys.path.insert(0, {str(REPO)!r})
from fxconv.cli import startup
startup.put_off_compiler()
import torch, torchvision, numpy
import fxconv.analysis.float_comparison, fxconv.cli.app, fxconv.conversion, fxconv.targets.proof.prove
from fxconv.errors import UserError
from fxconv.targets.executorch import installed
try:
    installed.check_runtime()
except UserError:
    pass
gc.freeze()
channel = socket.socket(fileno=int(sys.argv[1]))
while True:
    asked, files, _, _ = socket.recv_fds(channel, 1 << 20, 3)
    child = os.fork()
    if not child:
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.closerange(3, 256)
        program, folder, sys.argv = json.loads(asked)
        os.chdir(folder)
        status = 0
        try:
            exec(program, {{"__name__": "__main__"}})
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    for file in files:
        os.close(file)
    channel.send(str(child).encode())
    channel.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
"""


# How `fxconv.targets.own_process.words_for` starts a program; what is started otherwise is no work for `Warm`.
_STARTED = [sys.executable, "-I", "-W", "ignore", "-c"]


def program(text: str, *arguments: str) -> list[str]:
    """The command line of a program that `Warm` runs."""
    return [*_STARTED, text, *arguments]


class Warm:
    """What `subprocess.run` does for `python -I -W ignore -c PROGRAM ...`, and nothing else."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def command(self, folder: Path, *words: str) -> Run:
        """The command line in `folder`: what it writes does not depend on what was converted before."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            done = self.run(program("from fxconv.cli.app import main; main()", *words))
        return Run(done.returncode, done.stdout.decode(), done.stderr.decode(), folder)

    def run(self, words: Sequence[str], input: bytes = b"", timeout: float | None = None, **options: Any) -> Any:
        place = len(_STARTED)
        if list(words[:place]) != _STARTED:
            return subprocess.run(words, input=input, timeout=timeout, **options)
        assert options.items() <= {"capture_output": True, "check": False}.items()
        (out, out_there), (err, err_there) = os.pipe(), os.pipe()
        with tempfile.TemporaryFile() as given, ThreadPoolExecutor(2) as readers:
            given.write(input)
            given.seek(0)
            asked = json.dumps([words[place], str(Path.cwd()), ["-c", *words[place + 1 :]]]).encode()
            files = [given.fileno(), out_there, err_there]
            socket.send_fds(self._channel, [asked], files)
            child = int(self._channel.recv(64))
            os.close(out_there)
            os.close(err_there)
            printed = [readers.submit(_all_of, end) for end in (out, err)]
            self._channel.settimeout(timeout)
            try:
                status = int(self._channel.recv(64))
            except TimeoutError:
                os.kill(child, signal.SIGKILL)
                self._channel.settimeout(None)
                self._channel.recv(64)
                raise subprocess.TimeoutExpired(words, timeout or 0) from None
        return subprocess.CompletedProcess(words, status, *(one.result() for one in printed))


def _all_of(end: int) -> bytes:
    with open(end, "rb") as pipe:
        return pipe.read()


@contextmanager
def warm_processes() -> Iterator[Warm]:
    """A process to fork from, as long as the block lasts."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = program(_SERVER, str(there.fileno()))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}  # as its children have
    with here, subprocess.Popen(words, pass_fds=[there.fileno()], env=environment, **pipes) as process:
        there.close()
        yield Warm(here)
        process.kill()
