"""The proof of a .pte on the disk, from the int8 module it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from fxconv.errors import ConversionError
from fxconv.inspection.found import Unreadable
from fxconv.models import forward
from fxconv.targets.executorch.proof import constants, file_numbers, module_numbers, operations, running
from fxconv.targets.executorch.proof.file_numbers import FileNumbers
from fxconv.targets.executorch.proof.held_numbers import HeldNumbers
from fxconv.targets.executorch.proof.module_ranges import ranges_of
from fxconv.targets.executorch.proof.twin import split, twin_of
from fxconv.targets.own_process import Ended
from fxconv.verification import parity
from fxconv.verification.audit import Audit, OpAudit
from fxconv.verification.parity import StageParity

Lower = Callable[[nn.Module], bytes]


@dataclass(frozen=True)
class FileProof:
    """What was held against the int8 module, and what the file returns for each image: `outputs`.

    `operations` has a row for each int8 operation on the file's own values, `numbers` one for each layer and for the
    ranges of all values, `rows` whether the file returns what its twin does, and that what its int8 values call for.
    `problem` is the first fault, with the name of the operation, "" where the file is proven.
    """

    operations: tuple[OpAudit, ...]
    numbers: tuple[HeldNumbers, ...]
    rows: tuple[StageParity, ...]
    outputs: forward.Outputs

    @property
    def problem(self) -> str:
        """The first thing that is wrong; numbers first, for a wrong one is why an operation computes otherwise."""
        wrong = [f"{row.where}: {row.problem}" for row in self.numbers if row.problem]
        audited = Audit(self.operations, len(self.outputs)).problem
        compared = [f"{row.stage}: {row.problem}" for row in self.rows if not row.passed]
        return next(iter([*wrong, *([audited] if audited else []), *compared]), "")

    @property
    def proven(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


def prove(
    int8: nn.Module,
    floating: nn.Module,
    qdq: nn.Module,
    path: Path,
    images: Sequence[tuple[Tensor, ...]],
    lower: Lower,
) -> FileProof:
    """Prove the file at `path`, which was lowered from `qdq`, against the int8 module.

    `floating` is the fused float module that `int8` was made of, `qdq` the Q/DQ form of `int8` after the rules of
    lowering, `lower` what made the file of it; `images` are the tensors of a few calls. What is proven:

    - the integers, scales and zero points and the biases that stand in the bytes on the disk are the int8 module's, all
      of them, and nothing else is there: nothing is run for that;
    - each int8 operation, on the values that the runtime itself had, gives what its float form gives with the int8
      module's weights: no more than 0.1 % of its values are more than 2 steps off. These values come from a twin, which
      is lowered the same way and returns them, too;
    - the file returns bit for bit what the twin returns, and that is what its int8 values call for. Both run in a
      process of their own, on contiguous tensors.

    It is not proven that the file returns the int8 module's bits: XNNPACK rounds otherwise than the kernels of torch,
    by a step here and there, which adds up. How near the outputs are to those of the int8 module and of float is
    measured end to end, which is fidelity. The engine of `int8` must be the current one.
    """
    few = [tuple(tensor.contiguous() for tensor in image) for image in images]
    ranges = ranges_of(int8, few[0])
    try:
        numbers = constants.compare(
            module_numbers.numbers_of(int8, qdq, ranges),
            file_numbers.numbers_of(path.read_bytes()),
            lambda: _float_numbers(floating, lower),
        )
    except Unreadable as error:
        numbers = (HeldNumbers("the file", "all numbers", "", str(error)),)
    twin = twin_of(qdq, few[0])
    try:
        outputs, told = running.outputs_of([path, lower(twin)], few)
    except Ended as error:
        unread = parity.unreadable("file", RuntimeError(f"the process {error}"))
        return FileProof((), numbers, (unread,), [])
    returned, values = split(told, twin.whose)
    held = operations.hold(int8, floating, few, values, returned)
    same = replace(parity.same_bits("file", returned, outputs, has_islands=False), against="twin")
    return FileProof(held.operations, numbers, (same, held.outputs), outputs)


def _float_numbers(floating: nn.Module, lower: Lower) -> FileNumbers | None:
    """The numbers of the float module's own program; None where it cannot be written."""
    try:
        return file_numbers.numbers_of(lower(floating))
    except (ConversionError, Unreadable):
        return None
