"""What a .pte returns, run in a process of its own, on contiguous tensors.

XNNPACK ends a process that gives it what it does not expect; and of a tensor whose memory is ordered otherwise than the
file expects, a runtime reads the numbers in the wrong order and says nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fxconv.models import forward
from fxconv.targets.executorch import runtime
from fxconv.targets.own_process import answer, packed, unpacked, words_for

# As long as a large network may take for a few images on a machine that does much else.
_SECONDS = 1800


def outputs_of(files: Sequence[Path | bytes], images: Sequence[tuple[Tensor, ...]]) -> list[forward.Outputs]:
    """The tensors that each file returns for each image, what one call takes, in order; the files run in one process.

    Raises `own_process.Ended` where the process gives no answer, with what follows `the process`.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "outputs.npz")
        paths = [_path(file, Path(folder, f"{number}.pte")) for number, file in enumerate(files)]
        words = words_for(__name__, "child", str(found), str(len(images)), *map(str, paths))
        given = packed(tensor.contiguous() for image in images for tensor in image)
        counts: list[list[int]] = answer(words, given, _SECONDS)["counts"]
        tensors = iter(unpacked(found.read_bytes()))
        return [[[next(tensors) for _ in range(count)] for count in each] for each in counts]


def _path(file: Path | bytes, own: Path) -> Path:
    if isinstance(file, bytes):
        own.write_bytes(file)
        return own
    return file.resolve()


def child() -> None:
    """What the process does: where the outputs go, how many calls there are, and the files, are its arguments."""
    found, calls, paths = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    torch.set_num_threads(1)
    tensors = unpacked(sys.stdin.buffer.read())
    each = len(tensors) // max(calls, 1)
    images = [tuple(tensors[start : start + each]) for start in range(0, calls * each, each)]
    returned = [_returned(Path(path), images) for path in paths]
    found.write_bytes(packed(leaf for outputs in returned for leaves in outputs for leaf in leaves))
    print(json.dumps({"counts": [[len(leaves) for leaves in outputs] for outputs in returned]}))


def _returned(path: Path, images: Sequence[tuple[Tensor, ...]]) -> forward.Outputs:
    program: Any = runtime.load(path)
    return [[leaf.contiguous() for leaf in forward.tensors(program(*image))] for image in images]
