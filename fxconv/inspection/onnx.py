"""ONNX models: a protocol buffer, walked field by field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fxconv.inspection.extras import LONGEST_TEXT, extra_file
from fxconv.inspection.found import ExtraFile, Inspection, Kind, Operator, Part, StoredTensor, Unreadable, with_rest

# Fields of onnx.proto, by number.
_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPSET, _METADATA = 1, 2, 3, 7, 8, 14
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_TYPES = (
    *("undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16"),
    *("float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
)
_NEWEST_IR, _MOST_FIELDS = 100, 2_000_000
_LONGEST = 1000


@dataclass(frozen=True)
class _Field:
    """A field: its number, and what it holds, a number or the bytes from `begin` to `end`."""

    number: int
    value: int
    begin: int
    end: int


class _NotOne(ValueError):
    """These bytes are no protocol buffer, or not all of one."""


def is_onnx(data: memoryview) -> bool:
    """Whether the file is an ONNX model: it begins with a version of the format, and has a graph."""
    if len(data) < 4 or data[0] != 8:
        return False
    try:
        fields = {field.number: field for field in _fields(data, 0, len(data))}
    except _NotOne:
        return False
    return _GRAPH in fields and _IR_VERSION in fields and 0 < fields[_IR_VERSION].value < _NEWEST_IR


def inspect_onnx(data: memoryview, bare: Inspection) -> Inspection:
    """What the model says of itself. Raises `Unreadable` when its graph is damaged."""
    try:
        return _inspected(data, bare)
    except _NotOne as error:
        raise Unreadable("is an ONNX model whose graph is damaged; copy it again") from error


def _inspected(data: memoryview, bare: Inspection) -> Inspection:
    texts: dict[int, str] = {}
    sets: list[str] = []
    extras: list[ExtraFile] = []
    calls: Counter[str] = Counter()
    tensors: list[StoredTensor] = []
    ends: Counter[int] = Counter()
    version = stored = 0
    for field in _fields(data, 0, len(data)):
        if field.number == _IR_VERSION:
            version = field.value
        elif field.number in (_PRODUCER, _PRODUCER_VERSION):
            texts[field.number] = _text(data, field)
        elif field.number == _OPSET:
            inside = _inside(data, field)
            domain = _text(data, inside[1]) if 1 in inside else ""
            sets.append(f"{domain or 'ai.onnx'} {inside[2].value if 2 in inside else 0}")
        elif field.number == _METADATA:
            extras.append(_extra(data, field))
        elif field.number == _GRAPH:
            for part in _fields(data, field.begin, field.end):
                if part.number == _NODE:
                    inside = _inside(data, part)
                    domain = f"{_text(data, inside[7])}::" if 7 in inside and inside[7].end > inside[7].begin else ""
                    calls[domain + (_text(data, inside[4]) if 4 in inside else "")] += 1
                elif part.number == _INITIALIZER:
                    tensor, size = _tensor(data, part)
                    tensors.append(tensor)
                    stored += size
                elif part.number in (_INPUT, _OUTPUT):
                    ends[part.number] += 1
    facts = (
        ("format version", str(version)),
        ("producer", " ".join(texts[n] for n in (_PRODUCER, _PRODUCER_VERSION) if texts.get(n)) or "not said"),
        ("operator sets", ", ".join(sets) or "not said"),
        ("inputs and outputs", f"{ends[_INPUT]} and {ends[_OUTPUT]}"),
    )
    return replace(
        bare,
        kind=Kind.ONNX,
        facts=facts,
        parts=with_rest([Part("tensors", stored, len(tensors))], len(data), "graph"),
        tensors=tuple(sorted(tensors, key=lambda tensor: -tensor.bytes)),
        operators=tuple(Operator(name, calls=calls[name]) for name in sorted(calls)),
        extras=tuple(extras),
    )


def _tensor(data: memoryview, field: _Field) -> tuple[StoredTensor, int]:
    """An initializer, and the bytes that its values take here: none where they lie in another file."""
    shape: list[int] = []
    name, kind, stored = "", 0, 0
    for one in _fields(data, field.begin, field.end):
        if one.number == 1 and one.end:
            place = one.begin
            while place < one.end:
                side, place = _number(data, place, one.end)
                shape.append(side)
        elif one.number == 1:
            shape.append(one.value)
        elif one.number == 2:
            kind = one.value
        elif one.number == 8:
            name = _text(data, one)
        elif one.number in (4, 5, 6, 7, 9, 10, 11):
            stored += one.end - one.begin
    if len(shape) > 64:
        raise _NotOne
    return StoredTensor(name, _TYPES[kind] if kind < len(_TYPES) else f"type {kind}", tuple(shape), stored), stored


def _extra(data: memoryview, field: _Field) -> ExtraFile:
    inside = _inside(data, field)
    name = _text(data, inside[1]) if 1 in inside else ""
    begin, end = (inside[2].begin, inside[2].end) if 2 in inside else (0, 0)
    return extra_file(name, end - begin, bytes(data[begin : min(end, begin + LONGEST_TEXT)]))


def _inside(data: memoryview, field: _Field) -> dict[int, _Field]:
    return {one.number: one for one in _fields(data, field.begin, field.end)}


def _text(data: memoryview, field: _Field) -> str:
    return bytes(data[field.begin : min(field.end, field.begin + _LONGEST)]).decode("utf-8", "replace")


def _fields(data: memoryview, place: int, end: int) -> Iterator[_Field]:
    """The fields between two places. Raises `_NotOne` where there are none."""
    count = 0
    while place < end:
        tag, place = _number(data, place, end)
        number, kind, count = tag >> 3, tag & 7, count + 1
        if not number or count > _MOST_FIELDS:
            raise _NotOne
        if kind == 0:
            value, place = _number(data, place, end)
            yield _Field(number, value, 0, 0)
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
            if place > end:
                raise _NotOne
            yield _Field(number, 0, 0, 0)
        elif kind == 2:
            length, place = _number(data, place, end)
            if place + length > end:
                raise _NotOne
            yield _Field(number, 0, place, place + length)
            place += length
        else:
            raise _NotOne


def _number(data: memoryview, place: int, end: int) -> tuple[int, int]:
    """A number of any length up to 64 bits, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            raise _NotOne
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise _NotOne
