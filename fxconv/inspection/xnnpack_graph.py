"""What an ExecuTorch program hands to XNNPACK: values with their scales and constants, and the nodes between them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fxconv.inspection.flatbuffers import Budget, Table, root
from fxconv.inspection.found import Unreadable
from fxconv.inspection.xnnpack_schema import (
    DATATYPES,
    HEADER_MARK,
    INPUT_FLAG,
    MARKS,
    NO_VALUE,
    NODES,
    OUTPUT_FLAG,
    PER_CHANNEL,
    PER_GROUP,
    PER_TENSOR,
    PER_TOKEN,
    QUANTIZATION,
    inputs_of,
    outputs_of,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Of a constant that is not in the blob but under a name.
_NO_OFFSET = (1 << 64) - 1
_MOST_SIDES = 64
_BITS = dict(DATATYPES)
_ARRAYS, _FLOATS = {32: "<i4", 16: "<u2", 8: "i1"}, {"fp32": "<f4", "pfp32": "<f4", "fp16": "<f2"}


@dataclass(frozen=True)
class XnnValue:
    """A value of the graph.

    `shape` has the channels last where XNNPACK wants images so. `scale_bytes` are its scales, float32, or bfloat16
    where it has one for each group; `channels` is the dimension along which they differ. `content` are the bytes of a
    constant, None for what is computed; `key` is the name under which the program keeps them. `data` and `scale_data`
    number them among the constants, 0 for none.
    """

    id: int
    datatype: str
    shape: tuple[int, ...]
    sides: int
    flags: int
    external_id: int
    quantization: str
    zero_point: int
    channels: int
    group: int
    scale_bytes: memoryview
    data: int
    scale_data: int
    content: memoryview | None
    key: str

    @property
    def is_input(self) -> bool:
        """Whether the program gives it to the graph."""
        return bool(self.flags & INPUT_FLAG)

    @property
    def is_output(self) -> bool:
        """Whether the graph gives it to the program."""
        return bool(self.flags & OUTPUT_FLAG)

    @property
    def count(self) -> int:
        """How many values it has."""
        found = 1
        for side in self.shape:
            found *= side
        return found

    @property
    def bytes(self) -> int:
        """What its values take; 0 for a datatype that is not known."""
        return (self.count * _BITS.get(self.datatype, 0) + 7) // 8

    @property
    def scales(self) -> npt.NDArray[np.float32]:
        """Its scales, float32: one, or one for each channel or group; none for what is not quantized."""
        import numpy as np

        if self.quantization == PER_GROUP and self.scale_data:
            halves = np.frombuffer(self.scale_bytes, "<u2").astype("<u4") << 16  # bfloat16
            return halves.view("<f4")
        return np.frombuffer(self.scale_bytes, "<f4")

    @property
    def constant(self) -> npt.NDArray[Any] | None:
        """The numbers of a constant in its shape, as they lie in the file; of 4 bits the bytes, two numbers in each."""
        import numpy as np

        if self.content is None:
            return None
        bits = _BITS.get(self.datatype, 0)
        if bits == 4 or self.datatype not in _BITS:
            return np.frombuffer(self.content, "u1")
        kind = _FLOATS.get(self.datatype, "u1" if self.datatype == "quint8" else _ARRAYS[bits])
        return np.frombuffer(self.content[: self.bytes], kind).reshape(self.shape)


@dataclass(frozen=True)
class XnnNode:
    """A node: its kind, the ids of what it takes (`NO_VALUE` for a bias it has not) and makes, and its other fields.

    `limits` are the smallest and largest of its results, where it has any.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    fields: dict[str, int | float | tuple[int, ...]]
    handle: int
    limits: tuple[float, float] | None

    @property
    def output(self) -> int:
        """The id of what it makes; `NO_VALUE` for a node of an unknown kind."""
        return self.outputs[0] if self.outputs else NO_VALUE


@dataclass(frozen=True)
class XnnGraph:
    """All that one delegate is given. `externals` is how many of its values the program gives or takes."""

    mark: str
    version: str
    values: tuple[XnnValue, ...]
    nodes: tuple[XnnNode, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    externals: int

    @property
    def by_id(self) -> dict[int, XnnValue]:
        """The values by their ids."""
        return {value.id: value for value in self.values}


@dataclass(frozen=True)
class _Constants:
    """The constants of a graph, each by its number: bytes and the name they have in the program."""

    rows: tuple[tuple[memoryview, str], ...]

    def at(self, number: int) -> tuple[memoryview, str]:
        if number >= len(self.rows):
            raise Unreadable("has a value whose numbers are not there; it is damaged")
        return self.rows[number]


def read_xnnpack(blob: memoryview, named: Mapping[str, memoryview], budget: Budget | None = None) -> XnnGraph:
    """The graph in `blob`, whose constants may be in `named` data of the program.

    Raises `Unreadable` when it is none, or points at what is not there. Many graphs may share one budget.
    """
    flat, held = _parts(blob)
    mark = bytes(flat[4:8])
    if mark not in MARKS:
        raise Unreadable("is no XNNPACK graph of a version known here")
    graph = root(flat, budget)
    rows = tuple(_constant(one, held, named) for one in graph.tables(8))
    if not rows:  # older releases keep them in the flatbuffer itself
        rows = tuple((one.bytes(0), "") for one in graph.tables(6))
    constants = _Constants(rows)
    return XnnGraph(
        mark=mark.decode(),
        version=graph.text(0),
        values=tuple(_value(one, constants) for one in graph.tables(2)),
        nodes=tuple(_node(one) for one in graph.tables(1)),
        inputs=tuple(graph.numbers(4, "<I")),
        outputs=tuple(graph.numbers(5, "<I")),
        externals=graph.number(3, "<I"),
    )


def _parts(blob: memoryview) -> tuple[memoryview, memoryview]:
    """The flatbuffer and the constants, which a header tells apart; all of it and nothing without one."""
    if bytes(blob[4:8]) != HEADER_MARK:
        return blob, blob[:0]
    if len(blob) < 30:
        raise Unreadable("has an XNNPACK graph that is truncated")
    begin, size, constants, count = struct.unpack_from("<IIIQ", blob, 10)
    if begin + size > len(blob) or constants + count > len(blob):
        raise Unreadable("has an XNNPACK graph that is truncated")
    return blob[begin : begin + size], blob[constants : constants + count]


def _constant(found: Table, held: memoryview, named: Mapping[str, memoryview]) -> tuple[memoryview, str]:
    offset, size, key = found.number(0, "<Q"), found.number(1, "<Q"), found.text(2)
    if key:
        if key not in named:
            raise Unreadable("has an XNNPACK graph whose weights are not in the file")
        return named[key], key
    if offset == _NO_OFFSET:
        return held[:0], ""
    if offset + size > len(held):
        raise Unreadable("has an XNNPACK graph whose weights go on beyond its end")
    return held[offset : offset + size], ""


def _value(found: Table, constants: _Constants) -> XnnValue:
    kind, inside = found.union(0)
    tensor = inside.table(0) if inside is not None and kind == 2 else inside
    if tensor is None or inside is None or kind not in (1, 2):
        raise Unreadable(f"has an XNNPACK graph with a value of an unknown kind ({kind})")
    number, shape = tensor.number(0, "<h"), tuple(tensor.numbers(2, "<I"))
    if len(shape) > _MOST_SIDES:
        raise Unreadable("has an XNNPACK graph with a shape no tensor has")
    quantization, zero_point, channels, group, scales, scale_data = "", 0, -1, 0, memoryview(b""), 0
    if kind == 2:
        said, how = inside.union(1)
        quantization = QUANTIZATION.get(said, f"unknown ({said})")
        if how is not None and quantization == PER_TENSOR:
            scales, zero_point = memoryview(struct.pack("<f", how.real(0))), how.number(1, "<i")
        elif how is not None and quantization in (PER_CHANNEL, PER_GROUP):
            grouped = quantization == PER_GROUP
            scales, channels, group = how.raw(0, 4), how.number(1, "<i"), how.number(2, "<i") if grouped else 0
            scale_data = how.number(4 if grouped else 2, "<I")
            if scale_data:
                scales = constants.at(scale_data)[0][: (2 if grouped else 4) * how.number(5 if grouped else 3, "<I")]
                scales = scales[: len(scales) // 4 * 4]
        elif how is not None and quantization == PER_TOKEN:
            group = how.number(0, "<i")
    data = tensor.number(3, "<I")
    content, key = constants.at(data) if data else (None, "")
    return XnnValue(
        id=tensor.number(6, "<I"),
        datatype=DATATYPES[number][0] if 0 <= number < len(DATATYPES) else f"unknown ({number})",
        shape=shape,
        sides=tensor.number(1, "<I"),
        flags=tensor.number(5, "<I"),
        external_id=tensor.number(4, "<I"),
        quantization=quantization,
        zero_point=zero_point,
        channels=channels,
        group=group,
        scale_bytes=scales,
        data=data,
        scale_data=scale_data,
        content=content,
        key=key,
    )


def _node(found: Table) -> XnnNode:
    number, inside = found.union(0)
    name, layout = NODES.get(number, (f"unknown ({number})", ()))
    fields: dict[str, int | float | tuple[int, ...]] = {}
    ids: dict[str, int] = {}
    for place, said in enumerate(layout if inside is not None else ()):
        assert inside is not None
        field, _, form = said.partition(":")
        if field.endswith("_id"):
            ids[field] = inside.number(place, "<I")
        elif form == "n":
            fields[field] = tuple(inside.numbers(place, "<I"))
        else:
            fields[field] = inside.real(place) if form == "f" else inside.number(place, "<I")
    limits = found.table(3)
    return XnnNode(
        kind=name,
        inputs=tuple(ids[field] for field in inputs_of(name) if field in ids),
        outputs=tuple(ids[field] for field in outputs_of(name) if field in ids),
        fields=fields,
        handle=found.number(2, "<I"),
        limits=(limits.real(0), limits.real(1)) if limits is not None else None,
    )
