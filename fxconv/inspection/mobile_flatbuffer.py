"""The lite interpreter's other format, a flatbuffer, which `_use_flatbuffer=True` writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fxconv.inspection.extras import LONGEST_TEXT, extra_file
from fxconv.inspection.flatbuffers import Table, root
from fxconv.inspection.found import (
    SCRIPT_CODE,
    ExtraFile,
    Inspection,
    Kind,
    Operator,
    Part,
    StoredTensor,
    Unreadable,
    with_rest,
)
from fxconv.inspection.tensors import item_size

MARK = b"PTMF"  # the fourth to the seventh byte
# Fields of torch's torch/csrc/jit/serialization/mobile_bytecode.fbs, by number.
_BYTECODE_VERSION, _EXTRA_FILES, _VALUES, _STORAGES, _SOURCES, _OPERATOR_VERSION = 0, 1, 4, 6, 8, 10
_TENSOR, _FUNCTION = 5, 16  # of the union of values
_NAME, _INSTRUCTIONS, _OPERATORS = 0, 1, 2
_INSTRUCTION_BYTES, _OP, _OPN = 8, 0, 1
_TYPES = (
    *("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex32", "complex64"),
    *("complex128", "bool", "qint8", "quint8", "qint32", "bfloat16", "quint4x2", "quint2x4"),
)


def inspect_mobile(data: memoryview, bare: Inspection) -> Inspection:
    """What the module says of itself. Raises `Unreadable` when it points beyond its end."""
    module = root(data)
    storages = [len(one.bytes(0)) for one in module.tables(_STORAGES)]
    methods: list[str] = []
    tensors: list[StoredTensor] = []
    types: dict[int, str] = {}
    calls: Counter[tuple[str, str, int | None]] = Counter()
    for number, value in enumerate(module.tables(_VALUES)):
        kind, inside = value.number(0, "<B"), value.table(1)
        if inside is not None and kind == _FUNCTION:
            methods.append(f"{inside.text(_NAME)} ({_count_calls(inside, calls):,} instructions)")
        elif inside is not None and kind == _TENSOR:
            tensor, place = _tensor(inside, number)
            if not 0 <= place < len(storages):
                raise Unreadable("lacks the values of a tensor; copy it again")
            tensors.append(tensor)
            types.setdefault(place, tensor.dtype)
    sizes: Counter[str] = Counter()
    for place, dtype in types.items():
        sizes[dtype] += storages[place]
    extras = [_extra(one) for one in module.tables(_EXTRA_FILES)]
    sources = list(module.tables(_SOURCES))
    parts = [
        Part("tensors", sum(storages), len(storages)),
        Part("extra files", sum(len(one.bytes(1)) for one in module.tables(_EXTRA_FILES)), len(extras)),
        Part(SCRIPT_CODE, sum(len(one.bytes(1)) for one in sources), len(sources)),
    ]
    return replace(
        bare,
        kind=Kind.LITE_FLATBUFFER,
        facts=(("operator version", str(module.number(_OPERATOR_VERSION, "<I"))), ("methods", ", ".join(methods[:5]))),
        parts=with_rest(parts, len(data), "program and structure"),
        tensors=tuple(sorted(tensors, key=lambda tensor: -tensor.bytes)),
        storages=tuple(sizes.most_common()),
        bytecode_version=module.number(_BYTECODE_VERSION, "<I"),
        operators=tuple(Operator(*row, calls=calls[row]) for row in _ordered(calls)),
        extras=tuple(extras),
    )


def _count_calls(function: Table, calls: Counter[tuple[str, str, int | None]]) -> int:
    """Count into `calls` what a function calls; how many instructions it has."""
    rows: list[tuple[str, str, int | None]] = []
    for one in function.tables(_OPERATORS):
        passed = one.number(2, "<i", -1)
        rows.append((one.text(0), one.text(1), None if passed < 0 else passed))
    calls.update(dict.fromkeys(rows, 0))
    begin, count = function.vector(_INSTRUCTIONS)
    if begin + count * _INSTRUCTION_BYTES > len(function.data):
        raise Unreadable("is damaged or truncated: its program goes on beyond its end; copy it again")
    function.budget.spend(count)
    for place in range(begin, begin + count * _INSTRUCTION_BYTES, _INSTRUCTION_BYTES):
        if function.data[place] in (_OP, _OPN):
            number = function.number_at(place + 4, "<i")
            if not 0 <= number < len(rows):
                raise Unreadable("calls an operator it does not have; it is damaged")
            calls[rows[number]] += 1
    return count


def _ordered(calls: Counter[tuple[str, str, int | None]]) -> Sequence[tuple[str, str, int | None]]:
    return sorted(calls, key=lambda row: (row[0], row[1], row[2] or 0))


def _tensor(found: Table, number: int) -> tuple[StoredTensor, int]:
    """A tensor, named by its place among the values as its name is elsewhere, and the number of its storage."""
    kind = found.number(1, "<b")
    dtype = _TYPES[kind] if 0 <= kind < len(_TYPES) else f"type {kind}"
    begin, count = found.vector(3)
    if count > 64:
        raise Unreadable("holds a tensor with a shape no tensor has; it is damaged or made to deceive")
    shape = tuple(found.number_at(begin + 4 * side, "<i") for side in range(count))
    if any(side < 0 for side in shape):
        raise Unreadable("holds a tensor with a shape no tensor has; it is damaged or made to deceive")
    tensor = StoredTensor(f"value {number}", dtype, shape, 0)
    return StoredTensor(tensor.name, dtype, shape, tensor.values * item_size(dtype)), found.number(0, "<I")


def _extra(found: Table) -> ExtraFile:
    content = found.bytes(1)
    return extra_file(found.text(0), len(content), bytes(content[:LONGEST_TEXT]))
