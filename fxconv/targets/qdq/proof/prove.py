"""The proof of a file on the disk that was written from a Q/DQ form, from the int8 module it was made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from fxconv.inspection.found import Unreadable
from fxconv.models import forward
from fxconv.targets.own_process import Ended
from fxconv.targets.qdq.proof import constants, module_numbers, operations
from fxconv.targets.qdq.proof.file_numbers import FileNumbers
from fxconv.targets.qdq.proof.held_numbers import HeldNumbers
from fxconv.targets.qdq.proof.module_ranges import ranges_of
from fxconv.targets.qdq.proof.values import Value
from fxconv.verification import parity
from fxconv.verification.audit import Audit, OpAudit
from fxconv.verification.parity import StageParity


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


@dataclass(frozen=True)
class Ran:
    """What a file and its twin gave for each image: the file's outputs, the twin's, and the twin's int8 values."""

    outputs: forward.Outputs
    of_twin: forward.Outputs
    values: Sequence[Mapping[Value, Tensor]]


def prove(
    int8: nn.Module,
    floating: nn.Module,
    qdq: nn.Module,
    images: Sequence[tuple[Tensor, ...]],
    numbers_of_file: Callable[[], FileNumbers],
    numbers_of_float: Callable[[], FileNumbers | None],
    run: Callable[[], Ran],
) -> FileProof:
    """Prove a file that was written from `qdq`, the Q/DQ form of `int8` after the target's rules.

    `floating` is the fused float module that `int8` was made of; `images` are the tensors of a few calls. The file is
    reached by three functions: `numbers_of_file` reads the constants in it, and raises `Unreadable`; `numbers_of_float`
    those of the float module's own program, None where it has none; `run` gives what file and twin return for the
    images, the twin being the same file with every int8 value as an output, and raises `Ended`. What is proven:

    - the integers, scales and zero points and the biases that stand in the bytes on the disk are the int8 module's, all
      of them, and nothing else is there: nothing is run for that;
    - each int8 operation, on the values that the runtime itself had, gives what its float form gives with the int8
      module's weights: no more than 0.1 % of its values are more than 2 steps off;
    - the file returns bit for bit what the twin returns, and that is what its int8 values call for.

    It is not proven that the file returns the int8 module's bits: other kernels round otherwise than those of torch, by
    a step here and there, which adds up. How near the outputs are to those of the int8 module and of float is measured
    end to end, which is fidelity. The engine of `int8` must be the current one.
    """
    ranges = ranges_of(int8, images[0])
    try:
        numbers = constants.compare(module_numbers.numbers_of(int8, qdq, ranges), numbers_of_file(), numbers_of_float)
    except Unreadable as error:
        numbers = (HeldNumbers("the file", "all numbers", "", str(error)),)
    try:
        ran = run()
    except Ended as error:
        return FileProof((), numbers, (parity.unreadable("file", RuntimeError(f"the process {error}")),), [])
    held = operations.hold(int8, floating, images, ran.values, ran.of_twin)
    same = replace(parity.same_bits("file", ran.of_twin, ran.outputs, has_islands=False), against="twin")
    return FileProof(held.operations, numbers, (same, held.outputs), ran.outputs)
