"""Small files of formats whose libraries are not at hand: ExecuTorch, ONNX, safetensors."""

from __future__ import annotations

import struct
from dataclasses import dataclass

Fields = dict[int, object]


@dataclass(frozen=True)
class Raw:
    """A vector of a flatbuffer as its bytes, with the number of its elements before them."""

    content: bytes


def vector(form: str, *numbers: float) -> Raw:
    """A vector of numbers, each packed as `struct` writes `form`."""
    return Raw(struct.pack(f"<I{len(numbers)}{form}", len(numbers), *numbers))


def safetensors_of(tensors: dict[str, tuple[str, list[int], bytes]], said: str = '{"format":"pt"}') -> bytes:
    rows, body = [f'"__metadata__":{said}'], b""
    for name, (dtype, shape, data) in tensors.items():
        rows.append(
            f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{len(body)},{len(body) + len(data)}]}}'
        )
        body += data
    header = ("{" + ",".join(rows) + "}").encode()
    return struct.pack("<Q", len(header)) + header + body


def onnx_of(nodes: list[tuple[str, str]], tensors: dict[str, tuple[list[int], bytes]]) -> bytes:
    """An ONNX model of these operators (type, domain) and float32 weights, without the inputs that would join them."""
    graph = b"".join(_field(1, _field(4, kind.encode()) + (_field(7, domain.encode()))) for kind, domain in nodes)
    for name, (shape, data) in tensors.items():
        dims = b"".join(b"\x08" + _varint(side) for side in shape)
        graph += _field(5, dims + b"\x10\x01" + _field(8, name.encode()) + _field(9, data))
    graph += _field(11, _field(1, b"x")) + _field(12, _field(1, b"y"))
    said = _field(14, _field(1, b"author") + _field(2, b"me"))
    return b"\x08\x08" + _field(2, b"hand") + _field(3, b"1.0") + _field(7, graph) + _field(8, b"\x10\x11") + said


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def executorch_of(operators: list[tuple[str, str]], delegates: list[str]) -> bytes:
    """A program of one method, `forward`, that calls each operator once."""
    calls: list[Fields] = [{0: b"\x01", 1: {0: struct.pack("<i", number)}} for number in range(len(operators))]
    plan: Fields = {
        0: "forward",
        5: [{2: calls}],
        6: [{0: name, 1: overload} for name, overload in operators],
        7: [{0: name} for name in delegates],
    }
    return flatbuffer_of({0: struct.pack("<I", 0), 1: [plan]}, b"ET12")


def flatbuffer_of(root: Fields, identifier: bytes) -> bytes:
    """A flatbuffer: a dict is a table by field number, a list a vector of tables, bytes a number, str a string,
    `vector` one of numbers."""
    data = bytearray(struct.pack("<I", 8) + identifier)
    place = _put(data, root)
    struct.pack_into("<I", data, 0, place)
    return bytes(data)


def _put(data: bytearray, value: object) -> int:
    """Append a table, vector or string with all that is in it, and say where it is."""
    data += bytes(-len(data) % 8)
    place = len(data)
    if isinstance(value, str):
        text = value.encode()
        data += struct.pack("<I", len(text)) + text + b"\0"
    elif isinstance(value, Raw):
        data += value.content
    elif isinstance(value, list):
        data += struct.pack("<I", len(value)) + bytes(4 * len(value))
        places: dict[int, int] = {}
        for number, one in enumerate(value):
            slot = place + 4 + 4 * number
            if id(one) not in places:  # one thing in a list many times is there once
                places[id(one)] = _put(data, one)
            struct.pack_into("<I", data, slot, places[id(one)] - slot)
    else:
        assert isinstance(value, dict)
        count = max(value, default=-1) + 1
        layout, place = place, place + (4 + 2 * count + 7) // 8 * 8
        data += bytes(place - layout + 8 + 8 * count)
        struct.pack_into("<2H", data, layout, 4 + 2 * count, 8 + 8 * count)
        struct.pack_into("<i", data, place, place - layout)
        for number, one in value.items():
            slot = place + 8 + 8 * number
            struct.pack_into("<H", data, layout + 4 + 2 * number, slot - place)
            if isinstance(one, bytes):
                data[slot : slot + len(one)] = one
            else:
                struct.pack_into("<I", data, slot, _put(data, one) - slot)
    return place
