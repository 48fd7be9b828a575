"""What `inspect` finds out about a file, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

SCRIPT_CODE = "TorchScript code"


class Unreadable(ValueError):
    """Why a file cannot be read to its end: what is wrong with it and how to mend that, without its name."""


class Kind(Enum):
    """What a file is; the value is its name for people."""

    LITE = "lite-interpreter archive"
    LITE_FLATBUFFER = "lite-interpreter flatbuffer"
    TORCHSCRIPT = "TorchScript archive"
    STATE_DICT = "state_dict"
    CHECKPOINT = "checkpoint"
    CALIBRATION = "calibration that fxconv saved"
    MODULE = "pickled module"
    PICKLE = "pickled objects"
    EXPORTED = "exported program (torch.export)"
    PACKAGE = "torch.package archive"
    SAFETENSORS = "safetensors file"
    EXECUTORCH = "ExecuTorch program"
    ONNX = "ONNX model"
    TFLITE = "TensorFlow Lite model"


@dataclass(frozen=True)
class Part:
    """A part of the file: what it is, its bytes there, and how many records make it up (0: it is no records)."""

    name: str
    bytes: int
    records: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in the file by its name there. `bytes` is what its values take, whether stored once or shared."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def values(self) -> int:
        """How many values it has."""
        count = 1
        for side in self.shape:
            count *= side
        return count


@dataclass(frozen=True)
class Operator:
    """An operator that the file calls.

    `arguments` is how many of them it passes, None where the file does not say; `calls` in how many places; `schema`
    the signature this torch knows, "" where it knows none, None where nobody asked.
    """

    name: str
    overload: str = ""
    arguments: int | None = None
    calls: int = 0
    schema: str | None = None

    @property
    def full_name(self) -> str:
        """With the overload, as torch writes it: `aten::add.Tensor`."""
        return f"{self.name}.{self.overload}" if self.overload else self.name


@dataclass(frozen=True)
class ExtraFile:
    """A file that rides along. `text` is None when it is binary or too large to show."""

    name: str
    bytes: int
    text: str | None


@dataclass(frozen=True)
class DelegateOperator:
    """What a delegate computes: a kind of operator and the type it works in, in how many places, and its work.

    `multiply_accumulates` are those of all its places together, at the largest size that they take.
    """

    name: str
    dtype: str
    calls: int
    multiply_accumulates: int = 0


@dataclass(frozen=True)
class Delegate:
    """Work that a method hands to a backend in one piece.

    `what` is what is behind the backend's name, "" where nobody knows; `calls` is in how many places. `operators` are
    empty for backends whose work is not read here, and where `problem` says why not.
    """

    method: str
    backend: str
    what: str
    bytes: int
    calls: int
    operators: tuple[DelegateOperator, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Loader:
    """A call that loads files of this kind, or that people take for one: `where` it is, and why it does not work."""

    call: str
    where: str
    problem: str = ""


@dataclass(frozen=True)
class Inspection:
    """All of it. Names and texts are the file's own: escape them before they reach a terminal.

    `parts` add up to the file's `bytes`; `facts` are what only this kind of file has, as name and value;
    `storages` is bytes by dtype, as they lie in the file. `classes` are the namespaces of C++ classes of which a
    program for the lite interpreter makes objects.
    """

    path: Path
    bytes: int
    kind: Kind
    facts: tuple[tuple[str, str], ...] = ()
    parts: tuple[Part, ...] = ()
    tensors: tuple[StoredTensor, ...] = ()
    storages: tuple[tuple[str, int], ...] = ()
    bytecode_version: int | None = None
    classes: tuple[str, ...] = ()
    operators: tuple[Operator, ...] = ()
    delegates: tuple[Delegate, ...] = ()
    extras: tuple[ExtraFile, ...] = ()
    loaders: tuple[Loader, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def has_code(self) -> bool:
        """Whether TorchScript code is in it, which the full runtime needs."""
        return any(part.name == SCRIPT_CODE for part in self.parts)


def with_rest(parts: Sequence[Part], size: int, rest: str) -> tuple[Part, ...]:
    """The parts that are there, largest first, and what is left of the file's `size` in bytes."""
    there = sorted((part for part in parts if part.bytes), key=lambda part: -part.bytes)
    left = size - sum(part.bytes for part in there)
    if left < 0:
        raise Unreadable("its parts take more bytes than it has; it is damaged")
    return (*there, Part(rest, left)) if left else tuple(there)
