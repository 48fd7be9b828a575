"""What a target must be able to do: everything that a conversion asks of a kind of file.

A target is one class in a package of its own, `fxconv/targets/NAME/target.py`, and a row of `fxconv.targets.registry`.
What holds for its files alone, formats, runtimes, releases of them, stays in that package.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import nn

from fxconv.config import Config, Method
from fxconv.models import forward
from fxconv.targets.artifact import Artifact
from fxconv.verification.audit import OpAudit
from fxconv.verification.parity import StageParity

Program = Callable[..., Any]
"""What runs: called with the tensors of one call, it returns what the model returns."""


@dataclass(frozen=True)
class Lowered:
    """A module on its way to a file.

    `stages` are its forms on the way, in order, by the names of the ledger's rows, each of which runs. `content` are
    the bytes of a file that carries nothing besides, `method` is how it came about. `warnings` say what the user must
    know, decisions that were taken once and for all among it. `frozen_branches` are the lines whose decisions by the
    numbers in a tensor stand in the file as the example took them, because the user allows it. `doubt` says
    what may be why a stage differs, should one do so. `versions` are those of packages that took part besides torch,
    by their names. `fixed_batch` is why the file takes the example's batch alone, "" where it may take others. `own`
    is what the target keeps for later.
    """

    stages: Mapping[str, Program]
    content: bytes
    method: Method
    warnings: tuple[str, ...] = ()
    frozen_branches: tuple[str, ...] = ()
    doubt: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    fixed_batch: str = ""
    own: Any = None


@dataclass(frozen=True)
class Written:
    """The bytes of a file, and what it needs at run time where that was asked for, of a type of the target's own."""

    content: bytes
    needs: Any = None


@dataclass(frozen=True)
class Context:
    """What a file is held against: the int8 module as it goes into a file, and what it and the original return.

    `floating` makes the fused float module that it was made of, called as it is. `module` takes the tensors in each of
    `images`, for which it returns `reference`, nothing where it is no single
    graph, and for which the original returns `original`. `least` decibels are asked for between file and original.
    """

    module: nn.Module
    floating: Callable[[], nn.Module]
    images: list[tuple[Any, ...]]
    reference: forward.Outputs
    original: forward.Outputs
    least: float
    has_islands: bool
    amplifies_noise: bool = False

    def of(self, places: Sequence[int]) -> Context:
        """The same of some of the images, by their places among them."""
        return replace(
            self,
            images=_of(self.images, places),
            reference=_of(self.reference, places),
            original=_of(self.original, places),
        )


_T = TypeVar("_T")


def _of(values: list[_T], places: Sequence[int]) -> list[_T]:
    return [values[place] for place in places if place < len(values)]


@dataclass(frozen=True)
class Proven:
    """What was found out about a file on the disk: the ledger's last rows.

    `operations` has a row for each int8 operation where the runtime has kernels of its own, on the file's own values;
    `to_int8_db` is how near its outputs come to the int8 module's, in decibels, infinite where they are equal.
    """

    rows: tuple[StageParity, ...]
    operations: tuple[OpAudit, ...] = ()
    to_int8_db: float = math.inf

    @property
    def runs(self) -> bool:
        """Whether the file could be loaded and run at all."""
        return all(row.images for row in self.rows)


class Target(ABC):
    """One kind of file: how it is written, loaded, run and described.

    `name` is what people call it, `suffix` how its files end. `stages` are the names of the ledger's rows that each of
    its files has, in order. `runtime` is what they run in here, kernels and all. `is_exact` says that those are the
    kernels of the int8 module, so that its files compute the same bits.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    stages: ClassVar[tuple[str, ...]]
    runtime: ClassVar[str]
    is_exact: ClassVar[bool]

    @abstractmethod
    def begins(self, start: bytes) -> bool:
        """Whether a file with these first eight bytes is one of its own, as far as they tell."""

    @abstractmethod
    def check(self, config: Config) -> None:
        """Raises `UserError` where its files cannot be written with these choices, or what writes them is missing."""

    @abstractmethod
    def check_example(self, example: tuple[Any, ...], images: Sequence[tuple[Any, ...]], config: Config) -> None:
        """Raises `UserError` for choices that the arguments of one call do not go with, before anything is computed.

        `images` are those by which its files would be proven.
        """

    @abstractmethod
    def between(self, lowered: Lowered, context: Context) -> tuple[StageParity, ...]:
        """The ledger's rows of the forms between the int8 module and the file."""

    @abstractmethod
    def prove(self, path: Path, content: bytes, lowered: Lowered, context: Context) -> Proven:
        """Hold the file on the disk, whose bytes must be `content`, against the int8 module.

        What does not load or run is a row that failed, and so is a problem with its golden inputs.
        """

    @abstractmethod
    def lower(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> Lowered:
        """The way from a module to the bytes of a file; `example` are the tensors of one call.

        Raises `ConversionError` where the target refuses the module, and `UserError` for outputs it cannot hold, and
        for what would be right for some inputs only.
        """

    def takes(self, lowered: Lowered, image: tuple[Any, ...]) -> bool:
        """Whether a file is for tensors of such sizes."""
        return True

    @abstractmethod
    def write(self, lowered: Lowered, extra_files: Mapping[str, str], config: Config) -> Written:
        """The file, in which these texts ride along by name: metadata, golden inputs.

        Raises `ConversionError` where the runtime that was asked for cannot load it.
        """

    @abstractmethod
    def other_sizes(self, lowered: Lowered) -> Sequence[tuple[int, int]] | None:
        """Heights and widths that its files must take beside the example's; None where any may be tried."""

    @abstractmethod
    def float_twin(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> bytes:
        """A file of the float model, lowered the same way: int8's size and latency are told beside it."""

    @abstractmethod
    def load(self, file: Path | bytes) -> Program:
        """A file of fxconv's own, or its bytes, in this process, as a device loads it; raises what the runtime does."""

    def outputs_apart(self, content: bytes, calls: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
        """The tensors that a file of these bytes, which nobody has run yet, returns for each call.

        A target whose runtime may end the process that gives it a faulty file runs it in another, and raises
        `ConversionError` where that gives no answer.
        """
        program = self.load(content)
        return [forward.returned(program, call) for call in calls]

    @abstractmethod
    def float_kernels(self, program: Program) -> str:
        """The kernels that the convolutions and linear layers of a loaded float twin run on; "" where it has none."""

    @abstractmethod
    def describe(
        self, path: Path, data: bytes, lowered: Lowered, example: tuple[Any, ...], float_bytes: int
    ) -> Artifact:
        """The operators that one call runs, their types and multiply-accumulates, and the sizes of a file.

        `data` is what lies at `path`, which was `lowered` so; `float_bytes` is the size of its float twin.
        """

    @abstractmethod
    def unreadable(self, data: bytes, float_bytes: int) -> Artifact:
        """What can be said of a file that does not load."""

    @abstractmethod
    def extra_file(self, path: Path, name: str) -> str | None:
        """A text that rides along in anybody's file; None where it has none of this name. Nothing in it is run."""

    @abstractmethod
    def inspected(self, path: Path) -> None:
        """Raises `UserError` for anybody's file that is none of its own, or may do more than compute.

        Nothing in it is loaded or run, and no runtime reads it.
        """

    @abstractmethod
    def check_operators(self, path: Path, megabytes: int | None = None) -> None:
        """The same by what the runtime says of it, in a process of its own: there are files its reader crashes on.

        `megabytes` is how much memory it may ask for, as much as is usual where that is None.
        """

    @abstractmethod
    def import_runtime(self) -> None:
        """Import what runs its files: before a process is limited, as imports need more, and may write a file.

        Raises `UserError` when it is missing.
        """

    @abstractmethod
    def prepare(self, path: Path, threads: int = 1, megabytes: int | None = None) -> None:
        """Make this process, one of its own, fit to run anybody's file, which may ask for as much memory.

        Raises `UserError` when the file must not be run: its operators are read first.
        """

    @abstractmethod
    def open(self, path: Path) -> Program:
        """Anybody's file, after `prepare`. Raises `UserError` when it does not load."""

    @abstractmethod
    def run(self, program: Program, example: tuple[Any, ...], path: Path) -> None:
        """One call of what `open` gave. Raises `UserError` when it does not take these tensors."""

    @abstractmethod
    def advice(self, config: Config) -> str:
        """What the user may try when a stage of the way, or the file itself, is not what it must equal."""
