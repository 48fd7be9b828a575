"""The proof of a .pte on the disk, from the int8 module it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor, nn

from fxconv.errors import ConversionError
from fxconv.inspection.found import Unreadable
from fxconv.targets.executorch.proof import file_numbers, running
from fxconv.targets.executorch.proof.twin import split, twin_of
from fxconv.targets.qdq.proof import prove as proof
from fxconv.targets.qdq.proof.file_numbers import FileNumbers
from fxconv.targets.qdq.proof.prove import FileProof, Ran

Lower = Callable[[nn.Module], bytes]


def prove(
    int8: nn.Module,
    floating: nn.Module,
    qdq: nn.Module,
    path: Path,
    images: Sequence[tuple[Tensor, ...]],
    lower: Lower,
) -> FileProof:
    """Prove the file at `path`, which was lowered from `qdq`, as `qdq.proof.prove` says.

    `lower` is what made the file of `qdq`. A twin is lowered the same way, and both run in a process of their own, on
    contiguous tensors.
    """
    few = [tuple(tensor.contiguous() for tensor in image) for image in images]

    def floats() -> FileNumbers | None:
        try:
            return file_numbers.numbers_of(lower(floating))
        except (ConversionError, Unreadable):
            return None

    def run() -> Ran:
        twin = twin_of(qdq, few[0])
        outputs, told = running.outputs_of([path, lower(twin)], few)
        return Ran(outputs, *split(told, twin.whose))

    return proof.prove(int8, floating, qdq, few, lambda: file_numbers.numbers_of(path.read_bytes()), floats, run)
