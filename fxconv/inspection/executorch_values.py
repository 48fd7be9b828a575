"""What an ExecuTorch program is made of, as plain values: methods, instructions, the values they work on, delegates."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property

from fxconv.inspection.flatbuffers import Budget

# Names and bytes of the types of tensors, by number, of ExecuTorch's schema/scalar_type.fbs.
SCALAR_TYPES = {
    0: ("uint8", 1),
    1: ("int8", 1),
    2: ("int16", 2),
    3: ("int32", 4),
    4: ("int64", 8),
    5: ("float16", 2),
    6: ("float32", 4),
    7: ("float64", 8),
    11: ("bool", 1),
    12: ("qint8", 1),
    13: ("quint8", 1),
    14: ("qint32", 4),
    15: ("bfloat16", 2),
    16: ("quint4x2", 1),
    17: ("quint2x4", 1),
    22: ("bits16", 2),
    23: ("float8_e5m2", 1),
    24: ("float8_e4m3fn", 1),
    25: ("float8_e5m2fnuz", 1),
    26: ("float8_e4m3fnuz", 1),
    27: ("uint16", 2),
    28: ("uint32", 4),
    29: ("uint64", 8),
}
STATIC, BOUNDED, UNBOUNDED = "static", "bounded", "unbounded"


@dataclass(frozen=True)
class TensorValue:
    """A tensor of a method.

    `sizes` are what it has, or what it has at most where `dynamism` is bounded; `order` is its dimensions from outer to
    inner. `buffer` is the number of its constant data, 0 for none, and `content` those bytes; `planned` is the arena
    and the byte in it where it is put, None where it gets its place when it runs. `external` says that its data is in
    another file, under its `name`.
    """

    scalar_type: int
    sizes: tuple[int, ...]
    order: tuple[int, ...]
    dynamism: str
    storage_offset: int
    buffer: int
    content: memoryview | None
    planned: tuple[int, int] | None
    external: bool
    name: str

    @property
    def dtype(self) -> str:
        """Its type, as torch names it."""
        return SCALAR_TYPES.get(self.scalar_type, (f"type {self.scalar_type}", 0))[0]

    @property
    def item_bytes(self) -> int:
        """Bytes of one value; 0 for a type that is not known."""
        return SCALAR_TYPES.get(self.scalar_type, ("", 0))[1]

    @property
    def count(self) -> int:
        """How many values it has."""
        found = 1
        for side in self.sizes:
            found *= side
        return found

    @property
    def bytes(self) -> int:
        """What its values take."""
        return self.count * self.item_bytes


@dataclass(frozen=True)
class Text:
    """A string, as its bytes in the file."""

    content: memoryview

    def __str__(self) -> str:
        return bytes(self.content).decode("utf-8", "replace")


@dataclass(frozen=True)
class Listed:
    """A list. Items of `ints`, `tensors` and `optional tensors` are numbers of the method's values, -1 for none."""

    kind: str
    items: tuple[int | float | bool, ...]


@dataclass(frozen=True)
class Unknown:
    """A value of a kind that no schema read here has."""

    number: int


Value = None | bool | int | float | TensorValue | Text | Listed | Unknown
KERNEL, DELEGATE, MOVE, JUMP, FREE = "kernel", "delegate", "move", "jump if false", "free"


@dataclass(frozen=True)
class Instruction:
    """A step of a method.

    `target` is the number of the operator, of the delegate, or of the instruction that it goes on with; `arguments` are
    numbers of values: what a call is given, from and to of a move, the condition of a jump.
    """

    kind: str
    target: int
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Delegated:
    """Work handed to a backend by its name: what the backend is given, and how it was asked to compile it."""

    backend: str
    blob: memoryview
    specs: tuple[tuple[str, memoryview], ...]
    segment: int | None


@dataclass(frozen=True)
class Method:
    """A method of the program. `arenas` are the bytes of memory planned for its tensors; the first is not used."""

    name: str
    values: tuple[Value, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[tuple[str, str], ...]
    delegates: tuple[Delegated, ...]
    chains: tuple[tuple[Instruction, ...], ...]
    arenas: tuple[int, ...]

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """All of them, in order."""
        return tuple(one for chain in self.chains for one in chain)

    @property
    def constant(self) -> bool:
        """Whether it takes nothing and does nothing: what it returns is in the file."""
        return not self.inputs and not any(self.chains)

    @property
    def text(self) -> Text | None:
        """The one string that it returns; None when it returns something else or computes something."""
        if not self.constant or len(self.outputs) != 1:
            return None
        value = self.values[self.outputs[0]]
        return value if isinstance(value, Text) else None


@dataclass(frozen=True)
class ProgramFile:
    """A whole program.

    `program_bytes` is what the program takes before its segments; `segments` are the bytes of each; `named` what
    delegates look up by name, `named_segments` the number of the segment that it is. `constants` is the segment of
    constant tensors.
    """

    version: int
    methods: tuple[Method, ...]
    program_bytes: int
    segments: tuple[memoryview, ...]
    named: dict[str, memoryview]
    named_segments: dict[str, int]
    constants: int | None
    inline_bytes: int
    budget: Budget = field(repr=False, compare=False)

    @cached_property
    def texts(self) -> dict[str, memoryview]:
        """The strings of constant methods, by the method's name, as bytes; nothing is run to get them."""
        return {method.name: method.text.content for method in self.methods if method.text is not None}


def doubles(raw: memoryview) -> tuple[float, ...]:
    """The float64 values in these bytes."""
    return struct.unpack(f"<{len(raw) // 8}d", raw)
