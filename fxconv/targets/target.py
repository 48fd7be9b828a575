"""What a target must be able to do: everything that a conversion asks of a kind of file.

A target is one class in a package of its own, `fxconv/targets/NAME/target.py`, and a row of `fxconv.targets.registry`.
What holds for its files alone, formats, runtimes, releases of them, stays in that package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from fxconv.config import Config, Method
from fxconv.targets.artifact import Artifact

Program = Callable[..., Any]
"""What runs: called with the tensors of one call, it returns what the model returns."""


@dataclass(frozen=True)
class Lowered:
    """A module on its way to a file.

    `stages` are its forms on the way, in order, by the names of the ledger's rows, each of which runs. `content` are
    the bytes of a file that carries nothing besides, `method` is how it came about. `warnings` say what the user must
    know, decisions that were taken once and for all among it. `frozen_branches` are the lines whose decisions by the
    numbers in a tensor stand in the file as the example took them, because the user allows it. `doubt` says
    what may be why a stage differs, should one do so.
    """

    stages: Mapping[str, Program]
    content: bytes
    method: Method
    warnings: tuple[str, ...] = ()
    frozen_branches: tuple[str, ...] = ()
    doubt: str = ""


@dataclass(frozen=True)
class Written:
    """The bytes of a file, and what it needs at run time where that was asked for, of a type of the target's own."""

    content: bytes
    needs: Any = None


class Target(ABC):
    """One kind of file: how it is written, loaded, run and described.

    `name` is what people call it, `suffix` how its files end.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def lower(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> Lowered:
        """The way from a module to the bytes of a file; `example` are the tensors of one call.

        Raises `ConversionError` where the target refuses the module, and `UserError` for outputs it cannot hold, and
        for what would be right for some inputs only.
        """

    @abstractmethod
    def write(self, lowered: Lowered, extra_files: Mapping[str, str], config: Config) -> Written:
        """The file, in which these texts ride along by name: metadata, golden inputs.

        Raises `ConversionError` where the runtime that was asked for cannot load it.
        """

    @abstractmethod
    def float_twin(self, module: nn.Module, example: tuple[Any, ...], config: Config) -> bytes:
        """A file of the float model, lowered the same way: int8's size and latency are told beside it."""

    @abstractmethod
    def load(self, file: Path | bytes) -> Program:
        """A file of fxconv's own, or its bytes, in this process, as a device loads it; raises what the runtime does."""

    @abstractmethod
    def float_kernels(self, program: Program) -> str:
        """The kernels that the convolutions and linear layers of a loaded float twin run on; "" where it has none."""

    @abstractmethod
    def describe(self, path: Path, data: bytes, example: tuple[Any, ...], float_bytes: int) -> Artifact:
        """The operators that one call runs, their types and multiply-accumulates, and the sizes of a file.

        `data` is what lies at `path`, `float_bytes` the size of its float twin.
        """

    @abstractmethod
    def unreadable(self, data: bytes, float_bytes: int) -> Artifact:
        """What can be said of a file that does not load."""

    @abstractmethod
    def extra_file(self, path: Path, name: str) -> str | None:
        """A text that rides along in anybody's file; None where it has none of this name. Nothing in it is run."""

    @abstractmethod
    def prepare(self, path: Path, threads: int = 1) -> None:
        """Make this process, one of its own, fit to run anybody's file.

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
