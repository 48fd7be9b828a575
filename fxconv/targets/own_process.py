"""Work in a process of its own: what crashes, hangs or fills the memory there does so without harm here."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# A function of fxconv's, started with this process's own places to import from, and nothing of the environment's.
_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from {module} import {function}; {function}()"


class Ended(Exception):
    """The process gave no answer; the message says how it ended, to follow `the process`."""


class Failed(Ended):
    """It ended by itself, without an answer."""


def words_for(module: str, function: str, *arguments: str) -> list[str]:
    """The command line that starts a function of fxconv's; its arguments are `sys.argv[2:]` there.

    Python's warnings are not printed: what stands last on stderr is told as the reason when the process fails.
    """
    known = json.dumps([str(Path(place).resolve()) for place in sys.path if place])
    start = _START.format(module=module, function=function)
    return [sys.executable, "-I", "-W", "ignore", "-c", start, known, *arguments]


def packed(tensors: Iterable[Tensor]) -> bytes:
    """Tensors as the bytes that `unpacked` takes, on the other side of a pipe."""
    content = io.BytesIO()
    np.savez(content, *map(_array, tensors))
    return content.getvalue()


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    """The values as what they are; of bfloat16, which numpy has not, as float32, which has all of its values."""
    whole = tensor.detach().resolve_conj().resolve_neg()
    found: npt.NDArray[Any] = (whole.float() if whole.dtype == torch.bfloat16 else whole).numpy()
    return found


def unpacked(content: bytes) -> list[Tensor]:
    """The tensors, in order. Nothing in the bytes is run."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return [torch.from_numpy(arrays[f"arr_{place}"]) for place in range(len(arrays.files))]


def answer(words: Sequence[str], given: bytes = b"", seconds: float | None = None) -> dict[str, Any]:
    """The JSON object that a command prints as its last line, given bytes on its stdin.

    Raises `Ended` when it has not ended after `seconds` or ends by a signal, `Failed` when it prints no such line.
    """
    try:
        done = subprocess.run(words, input=given, capture_output=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise Ended(f"took more than {seconds:g} s") from error
    if done.returncode < 0:
        raise Ended(f"crashed ({signal.Signals(-done.returncode).name})")
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
        raise Failed(f"failed: {last}") from error
    if not isinstance(found, dict):
        raise Failed("printed something else than it should")
    return found
