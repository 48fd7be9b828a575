"""ExecuTorch programs (.pte), read without ExecuTorch: every pointer in the file is asked where it leads.

The numbers of fields are those of schema/program.fbs, the same in ExecuTorch 1.3.1 and 1.5.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NoReturn

from fxconv.inspection.executorch_values import (
    BOUNDED,
    DELEGATE,
    FREE,
    JUMP,
    KERNEL,
    MOVE,
    STATIC,
    UNBOUNDED,
    Delegated,
    Instruction,
    Listed,
    Method,
    ProgramFile,
    TensorValue,
    Text,
    Unknown,
    Value,
    doubles,
)
from fxconv.inspection.flatbuffers import Budget, Table, root
from fxconv.inspection.found import Unreadable

MARK, _HEADER = b"ET12", b"eh00"
_SHORT_HEADER, _LONG_HEADER = 24, 32
_MOST_SIDES = 64
# Rows that a delegate counts for: no program has ten thousand of them.
_COST_OF_DELEGATE = 30
_DYNAMISM = (STATIC, BOUNDED, UNBOUNDED)
_INSTRUCTIONS = {1: KERNEL, 2: DELEGATE, 3: MOVE, 4: JUMP, 5: FREE}
_LISTS = {7: "ints", 9: "bools", 10: "tensors", 11: "optional tensors"}


@dataclass(frozen=True)
class _Data:
    """Where the parts of a file are that its methods point to."""

    segments: tuple[memoryview, ...]
    inline: tuple[memoryview, ...]
    buffers: tuple[memoryview, ...]
    constants: memoryview
    offsets: tuple[int, ...]


def read_program(data: memoryview) -> ProgramFile:
    """The program in `data`. Raises `Unreadable` when it points beyond its end, or at what it does not have."""
    size, base = _header(data)
    program = root(data[:size], Budget())
    segments = tuple(_segment(data, base, one) for one in program.tables(4))
    if segments and not base:
        _refuse("lacks the header that says where its segments begin")
    where = program.table(5)
    constants = where.number(0, "<I") if where is not None else None
    offsets = where.numbers(1, "<Q") if where is not None else ()
    if offsets and (constants is None or constants >= len(segments)):
        _refuse("lacks the segment of its constants")
    inline = tuple(one.bytes(0) for one in program.tables(3))
    buffers = tuple(one.bytes(0) for one in program.tables(2))
    held = segments[constants] if offsets and constants is not None else data[:0]
    found = _Data(segments, inline, buffers, held, offsets)
    named: dict[str, int] = {}
    for one in program.tables(7):
        number = one.number(1, "<I")
        if number >= len(segments):
            _refuse("names data that it does not have")
        named[one.text(0)] = number
    return ProgramFile(
        version=program.number(0, "<I"),
        methods=tuple(_method(one, found) for one in program.tables(1)),
        program_bytes=size,
        segments=segments,
        named={name: segments[number] for name, number in named.items()},
        named_segments=named,
        constants=constants if offsets else None,
        inline_bytes=sum(map(len, inline)) + sum(map(len, buffers)),
        budget=program.budget,
    )


def _refuse(what: str) -> NoReturn:
    raise Unreadable(f"{what}; it is damaged, copy it again")


def _header(data: memoryview) -> tuple[int, int]:
    """Bytes of the program, and where its segments begin: all of them and 0 without the header that says so."""
    if bytes(data[8:12]) != _HEADER or len(data) < 8 + _SHORT_HEADER:
        return len(data), 0
    length, size, base = struct.unpack_from("<IQQ", data, 12)
    segments = struct.unpack_from("<Q", data, 32)[0] if length >= _LONG_HEADER and len(data) >= 40 else 0
    if length < _SHORT_HEADER or size > len(data) or base > len(data) or base + segments > len(data):
        raise Unreadable("is truncated: its header speaks of more bytes than it has; copy it again")
    return size, base


def _segment(data: memoryview, base: int, found: Table) -> memoryview:
    offset, size = found.number(0, "<Q"), found.number(1, "<Q")
    if base + offset + size > len(data):
        raise Unreadable("is truncated: a segment goes on beyond its end; copy it again")
    return data[base + offset : base + offset + size]


def _method(plan: Table, data: _Data) -> Method:
    operators = tuple((one.text(0), one.text(1)) for one in plan.tables(6))
    delegates = tuple(_delegate(one, data) for one in plan.tables(7))
    values = tuple(_value(one, data) for one in plan.tables(2))
    chains = tuple(tuple(_instruction(one) for one in chain.tables(2)) for chain in plan.tables(5))
    inputs, outputs = (tuple(plan.numbers(number, "<i")) for number in (3, 4))
    for one in (step for chain in chains for step in chain):
        if one.kind == KERNEL and not 0 <= one.target < len(operators):
            _refuse("calls an operator it does not have")
        if one.kind == DELEGATE and not 0 <= one.target < len(delegates):
            _refuse("calls a delegate it does not have")
        if not all(0 <= number < len(values) for number in one.arguments):
            _refuse("calls with values it does not have")
    if not all(0 <= number < len(values) for number in (*inputs, *outputs)):
        _refuse("takes or returns values it does not have")
    arenas = tuple(plan.numbers(8, "<q"))
    return Method(plan.text(0), values, inputs, outputs, operators, delegates, chains, arenas)


def _delegate(found: Table, data: _Data) -> Delegated:
    found.budget.spend(_COST_OF_DELEGATE)
    processed = found.table(1)
    blob, segment = memoryview(b""), None
    if processed is not None:
        in_segment, number = processed.number(0, "<b") == 1, processed.number(1, "<I")
        held = data.segments if in_segment else data.inline
        if number >= len(held):
            _refuse("lacks what it hands to a delegate")
        blob, segment = held[number], number if in_segment else None
    return Delegated(found.text(0), blob, tuple((one.text(0), one.bytes(1)) for one in found.tables(2)), segment)


def _instruction(found: Table) -> Instruction:
    number, inside = found.union(0)
    if inside is None or number not in _INSTRUCTIONS:
        return Instruction(f"unknown ({number})", 0, ())
    kind = _INSTRUCTIONS[number]
    if kind in (KERNEL, DELEGATE):
        return Instruction(kind, inside.number(0, "<i"), tuple(inside.numbers(1, "<i")))
    if kind == MOVE:
        return Instruction(kind, 0, (inside.number(0, "<i"), inside.number(1, "<i")))
    return Instruction(kind, inside.number(1, "<i") if kind == JUMP else 0, (inside.number(0, "<i"),))


def _value(found: Table, data: _Data) -> Value:
    number, inside = found.union(0)
    if inside is None or number == 1:
        return None
    if number == 2:
        return inside.number(0, "<q")
    if number == 3:
        return bool(inside.number(0, "<B"))
    if number == 4:
        return inside.real(0, "<d")
    if number == 5:
        return _tensor(inside, data)
    if number == 6:
        return Text(inside.bytes(0))
    if number == 8:
        raw = inside.raw(0, 8)
        inside.budget.spend(len(raw) // 8)
        return Listed("doubles", doubles(raw))
    if number == 9:
        return Listed("bools", tuple(bool(one) for one in inside.numbers(0, "<B")))
    if number in _LISTS:
        return Listed(_LISTS[number], tuple(inside.numbers(0, "<q" if number == 7 else "<i")))
    return Unknown(number)


def _tensor(found: Table, data: _Data) -> TensorValue:
    allocated, extra = found.table(6), found.table(9)
    sizes, order = tuple(found.numbers(2, "<i")), tuple(found.bytes(3)[:_MOST_SIDES])
    if len(sizes) > _MOST_SIDES or any(side < 0 for side in sizes):
        raise Unreadable("holds a tensor with a shape no tensor has; it is damaged or made to deceive")
    planned = None
    if allocated is not None:
        planned = (allocated.number(0, "<I"), allocated.number(1, "<I") | allocated.number(2, "<I") << 32)
    dynamism = found.number(8, "<b")
    bare = TensorValue(
        scalar_type=found.number(0, "<b"),
        sizes=sizes,
        order=order,
        dynamism=_DYNAMISM[dynamism] if 0 <= dynamism < len(_DYNAMISM) else f"unknown ({dynamism})",
        storage_offset=found.number(1, "<i"),
        buffer=found.number(5, "<I"),
        content=None,
        planned=planned,
        external=extra is not None and extra.number(2, "<b") == 1,
        name=extra.text(1) if extra is not None else "",
    )
    if bare.external or not bare.buffer or planned is not None:  # with a place in memory, its data is its first state
        return bare
    return TensorValue(**{**vars(bare), "content": _content(bare, data)})


def _content(tensor: TensorValue, data: _Data) -> memoryview:
    """The bytes of a constant."""
    size = tensor.bytes
    if data.offsets:
        if tensor.buffer >= len(data.offsets):
            _refuse("lacks the values of a tensor")
        held = data.constants[data.offsets[tensor.buffer] :]
    else:
        if tensor.buffer >= len(data.buffers):
            _refuse("lacks the values of a tensor")
        held = data.buffers[tensor.buffer]
    if size > len(held):
        _refuse("has too few values for a tensor")
    return held[:size]
