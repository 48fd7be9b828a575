"""What a file returns for images, from a process of its own, which may compute and take only so much."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fxconv import replay
from fxconv.diagnostics.blame import is_out_of_memory
from fxconv.errors import UserError, described
from fxconv.models import forward
from fxconv.targets.own_process import packed, unpacked, words_for
from fxconv.targets.proof.metadata import named
from fxconv.targets.proof.prove import process_answer
from fxconv.targets.registry import target_of_file

Named = list[tuple[str, Tensor]]
"""The tensors that one call returns, in order, each with its name."""

# Bytes of what one process is given, and of what it hands back: of many large images a few at a time.
AT_ONCE = 128 << 20


def outputs_of_file(path: Path, images: Sequence[tuple[Tensor, ...]], seconds: int, megabytes: int) -> list[Named]:
    """What a file, which `prove.check_runnable` took, returns for each image: what one call takes.

    One process runs as many of them as `AT_ONCE` allows, with the limits of `prove.prove`. Raises `UserError` where it
    does not end well.
    """
    found: list[Named] = []
    while len(found) < len(images):
        left = images[len(found) :]
        each = max(1, sum(tensor.nbytes for tensor in left[0]))
        found += _some(path, left[: max(1, AT_ONCE // each)], seconds, megabytes)
    return found


def _some(path: Path, images: Sequence[tuple[Tensor, ...]], seconds: int, megabytes: int) -> list[Named]:
    """The outputs for the first of these images, and for as many more as fit into one answer."""
    limits = (str(len(images[0])), str(seconds), str(megabytes))
    words = words_for("fxconv.targets.proof.outputs_of_file", "child", str(path), *limits)
    told = process_answer(words, path, seconds, packed(tensor for image in images for tensor in image))
    tensors = iter(unpacked(base64.b64decode(told["outputs"])))
    return [[(str(name), next(tensors)) for name in names] for names in told["names"]]


def child() -> None:
    """What the process does: a file, how many tensors a call takes and the limits are its arguments."""
    path, each, seconds, megabytes = Path(sys.argv[2]), *map(int, sys.argv[3:6])
    tensors = unpacked(sys.stdin.buffer.read())
    try:
        target_of_file(path).import_runtime()
        replay.limit(seconds, megabytes)
        images = [tuple(tensors[start : start + each]) for start in range(0, len(tensors), each)]
        told = _told(path, images, megabytes)
    except Exception as error:
        told = {"error": str(error) if isinstance(error, UserError) else f"{path}: {described(error)}", "whole": True}
        if is_out_of_memory(error) or (error.__cause__ is not None and is_out_of_memory(error.__cause__)):
            told = {"error": f"needs more than {megabytes} MB; raise --memory"}
    print(json.dumps(told))


def _told(path: Path, images: Sequence[tuple[Tensor, ...]], megabytes: int) -> dict[str, Any]:
    target = target_of_file(path)
    target.prepare(path, megabytes=megabytes)
    program = target.open(path)
    target.run(program, images[0], path)  # says in one line that it takes something else
    returned: list[Named] = []
    for image in images:
        with torch.no_grad():
            returned.append([(name, leaf.detach()) for name, leaf in named(program(*forward.cloned(image)))])
        if sum(leaf.nbytes for leaves in returned for _, leaf in leaves) > AT_ONCE:
            break
    outputs = packed(leaf for leaves in returned for _, leaf in leaves)
    names = [[name for name, _ in leaves] for leaves in returned]
    return {"names": names, "outputs": base64.b64encode(outputs).decode()}
