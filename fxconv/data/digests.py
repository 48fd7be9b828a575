"""Digests of what a conversion reads, by which it is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

# Photographs behind those that were drawn, by which a recipe is chosen, or which take the place of unreadable ones.
SPARES = 256


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def folder_digest(folder: Path, found: Sequence[Path], used: Sequence[Path]) -> str:
    """SHA-256 of the names and sizes of the photographs `found`, which decide the draw, and of the bytes of `used`.

    A photograph that cannot be read counts with its name alone.
    """
    digest = hashlib.sha256()
    for path in found:
        try:
            size = path.stat().st_size
        except OSError:
            size = -1
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\n".encode(errors="surrogateescape"))
    for path in used:
        try:
            digest.update(file_digest(path).encode())
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()


def parameters_digest(module: nn.Module) -> str:
    """SHA-256 of every parameter and buffer of a model, by its name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
