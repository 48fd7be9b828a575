"""Where the numbers of an ExecuTorch program are in its file, each by the name of its field: to change one of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fxconv.inspection.flatbuffers import Table, root
from fxconv.inspection.xnnpack_schema import NODES


@dataclass(frozen=True)
class Place:
    """A number in a file: the field it is of, the byte where it begins, and how `struct` packs it."""

    name: str
    begin: int
    form: str


# Tables by field number: a name with the form of a number (`[i]` many of them), a table, a vector of one, or a union.
_TENSOR = {
    0: "scalar type:b",
    1: "storage offset:i",
    2: "sizes:[i]",
    3: "order:[B]",
    5: "buffer:I",
    6: {0: "arena:I", 1: "place in the arena:I", 2: "place in the arena:I"},
    8: "dynamism:b",
}
_VALUE = {
    "union": 0,
    2: {0: "int:q"},
    3: {0: "bool:B"},
    5: _TENSOR,
    7: {0: "items:[q]"},
    10: {0: "items:[i]"},
    11: {0: "items:[i]"},
}
_INSTRUCTION = {
    "union": 0,
    1: {0: "operator:i", 1: "arguments:[i]"},
    2: {0: "delegate:i", 1: "arguments:[i]"},
    3: {0: "from:i", 1: "to:i"},
    4: {0: "condition:i", 1: "destination:i"},
}
_PLAN = {
    2: [_VALUE],
    3: "inputs:[i]",
    4: "outputs:[i]",
    5: [{2: [_INSTRUCTION]}],
    7: [{1: {0: "location:b", 1: "data:I"}}],
    8: "arenas:[q]",
}
_PROGRAM = {
    0: "version:I",
    1: [_PLAN],
    4: [{0: "offset of a segment:Q", 1: "size of a segment:Q"}],
    5: {0: "segment of constants:I", 1: "offsets of constants:[Q]"},
    7: [{1: "segment of named data:I"}],
}
_XNN_TENSOR = {
    0: "datatype:h",
    1: "number of dims:I",
    2: "dims:[I]",
    3: "data:I",
    4: "external id:I",
    5: "flags of a value:I",
    6: "id:I",
}
_SCALES = {0: "scales:[f]", 1: "channels:i", 2: "scale data:I", 3: "number of scales:I"}
_XNN_VALUE = {
    "union": 0,
    1: _XNN_TENSOR,
    2: {0: _XNN_TENSOR, 1: {"union": 0, 1: _SCALES, 2: {0: "scale:f", 1: "zero point:i"}, 3: {0: "token dims:i"}}},
}


def _node(fields: tuple[str, ...]) -> dict[int, str]:
    forms = {"": "I", "f": "f", "n": "[I]"}
    return {number: f"{one.partition(':')[0]}:{forms[one.partition(':')[2]]}" for number, one in enumerate(fields)}


_XNN_NODE: dict[Any, Any] = {"union": 0, **{number: _node(fields) for number, (_, fields) in NODES.items()}}
_GRAPH = {
    1: [_XNN_NODE],
    2: [_XNN_VALUE],
    3: "number of externals:I",
    4: "graph inputs:[I]",
    5: "graph outputs:[I]",
    8: [{0: "offset of data:Q", 1: "size of data:Q"}],
}


def places(data: bytes) -> list[Place]:
    """The numbers of a program, and of the XNNPACK graphs in its segments."""
    view = memoryview(data)
    found = list(_walk(root(view), _PROGRAM, 0))
    found += [Place("size of the program", 16, "Q"), Place("begin of the segments", 24, "Q")]
    begin = struct.unpack_from("<Q", data, 24)[0]
    for segment in root(view).tables(4):
        start = begin + segment.number(0, "<Q")
        if data[start + 4 : start + 8] == b"XH00":
            names = {10: "I", 14: "I", 18: "I", 22: "Q"}
            found += [Place("header of a graph", start + at, form) for at, form in names.items()]
            flat = start + struct.unpack_from("<I", data, start + 10)[0]
            found += _walk(root(view[flat:]), _GRAPH, flat)
    return found


def _walk(table: Table, fields: dict[Any, Any], base: int, first: int = 0) -> Iterator[Place]:
    """The numbers of a table; `first` is the field of its union, where it is one."""
    if "union" in fields:
        kind, inside = table.union(first)
        yield Place("kind of a union", base + table._field(first), "B")
        if inside is not None and kind in fields:
            yield from _walk(inside, fields[kind], base)
        return
    for number, what in fields.items():
        if isinstance(what, list):
            for one in table.tables(number):
                yield from _walk(one, what[0], base)
        elif isinstance(what, dict) and "union" in what:
            yield from _walk(table, what, base, number)
        elif isinstance(what, dict):
            if (inside := table.table(number)) is not None:
                yield from _walk(inside, what, base)
        else:
            yield from _numbers(table, number, what, base)


def _numbers(table: Table, number: int, what: str, base: int) -> Iterator[Place]:
    name, _, form = what.rpartition(":")
    if not (place := table._field(number)):
        return
    if not form.startswith("["):
        yield Place(name, base + place, form)
        return
    begin, count = table.vector(number)
    yield Place(f"length of {name}", base + begin - 4, "I")
    for at in range(count):
        yield Place(name, base + begin + at * struct.calcsize(form[1]), form[1])
