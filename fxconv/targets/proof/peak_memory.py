"""How much memory loading and running a file takes, measured in a process of its own."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from fxconv.errors import UserError, described
from fxconv.models.signature import in_words
from fxconv.targets.own_process import Ended, Failed, answer, packed, unpacked, words_for
from fxconv.targets.registry import target_of_file

_RUNS = 3


def peak_memory(path: Path, inputs: Sequence[Tensor], threads: int = 1) -> int:
    """Bytes by which loading a file and running it three times raise a process's peak of resident memory.

    What torch and the runtime take by themselves, and the inputs, were there before. The process is a new one: whatever
    the file does to it, a crash included, is told as `UserError`, and so is what must not be run.
    """
    try:
        told = answer(words_for("fxconv.targets.proof.peak_memory", "child", str(path), str(threads)), packed(inputs))
    except Failed as error:
        raise RuntimeError(f"the process that measures memory {error}") from error
    except Ended as error:
        ran = "torch" if target_of_file(path).name == "mobile" else "ExecuTorch"
        what = f"{ran} {error} on it with an input of {in_words(inputs)}"
        raise UserError(f"{path}: {what}; it is damaged, or takes other inputs") from error
    if "error" in told:
        raise UserError(told["error"])
    return int(told["peak"])


def child() -> None:
    """What the process does: the file and the number of threads are its arguments, the inputs its stdin."""
    path, threads = Path(sys.argv[2]), int(sys.argv[3])
    example = tuple(unpacked(sys.stdin.buffer.read()))
    target = target_of_file(path)
    try:
        target.prepare(path, threads)
        start = _peak(reset=True)
        program = target.open(path)
        for _ in range(_RUNS):
            target.run(program, example, path)
        print(json.dumps({"peak": max(0, _peak() - start)}))
    except Exception as error:
        print(json.dumps({"error": str(error) if isinstance(error, UserError) else described(error)}))


def _peak(reset: bool = False) -> int:
    """Most bytes of memory the process ever had; with `reset`, where the system can do that, what it has now.

    Importing torch needs more for a moment than it keeps; without a reset, small files would seem to take nothing.
    """
    if reset:
        with suppress(OSError, AttributeError):  # other systems do not have them
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    with suppress(OSError):  # a reset does not reach getrusage, which begins with what the parent process had
        status = Path("/proc/self/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    import resource  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
