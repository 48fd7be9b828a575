"""Safetensors files: a JSON header, then the tensors."""

from __future__ import annotations

import json
import struct
from collections import Counter
from dataclasses import replace
from typing import Any

from fxconv.inspection.extras import extra_file
from fxconv.inspection.found import Inspection, Kind, Part, StoredTensor, Unreadable, with_rest
from fxconv.inspection.opened import Opened

_MOST_HEADER = 32 << 20
_TYPES = {"F32": "float32", "F16": "float16", "F64": "float64", "BF16": "bfloat16", "BOOL": "bool"}
_TYPES |= {
    f"{letter}{bits}": f"{word}{bits}" for letter, word in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}
_DAMAGED = "is no whole safetensors file: its header is damaged; copy it again"


def is_safetensors(opened: Opened) -> bool:
    """Whether the file begins with the length of a header, and that as JSON."""
    if len(opened.start) < 10:
        return False
    length = struct.unpack_from("<Q", opened.start)[0]
    return 2 <= length <= _MOST_HEADER and opened.start[8:10] in (b'{"', b"{}", b"{ ")


def inspect_safetensors(opened: Opened, bare: Inspection) -> Inspection:
    """What the header says. Raises `Unreadable` when it or the file is damaged."""
    length = struct.unpack_from("<Q", opened.start)[0]
    if 8 + length > opened.size:
        raise Unreadable(f"is truncated: its header goes on beyond its end, {opened.size:,} bytes; copy it again")
    try:
        header = json.loads(opened.read(8, length))
    except (ValueError, RecursionError):
        raise Unreadable(_DAMAGED) from None
    if not isinstance(header, dict):
        raise Unreadable(_DAMAGED)
    said = header.pop("__metadata__", {})
    if not isinstance(said, dict) or not all(isinstance(text, str) for text in said.values()):
        raise Unreadable(_DAMAGED)
    tensors = [_tensor(name, row) for name, row in header.items()]
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.dtype] += tensor.bytes
    stored = sum(sizes.values())
    if 8 + length + stored > opened.size:
        raise Unreadable(f"is truncated: its tensors take {stored:,} bytes more than its header; copy it again")
    return replace(
        bare,
        kind=Kind.SAFETENSORS,
        parts=with_rest([Part("tensors", stored, len(tensors)), Part("header", 8 + length)], opened.size, "unused"),
        tensors=tuple(sorted(tensors, key=lambda tensor: -tensor.bytes)),
        storages=tuple(sizes.most_common()),
        extras=tuple(extra_file(name, len(text), text.encode("utf-8", "replace")) for name, text in said.items()),
    )


def _tensor(name: str, row: Any) -> StoredTensor:
    if not isinstance(row, dict) or not isinstance(row.get("dtype"), str):
        raise Unreadable(_DAMAGED)
    shape, place = _numbers(row.get("shape")), _numbers(row.get("data_offsets"))
    if len(place) != 2 or place[0] > place[1]:
        raise Unreadable(_DAMAGED)
    return StoredTensor(name, _TYPES.get(row["dtype"], row["dtype"][:40]), shape, place[1] - place[0])


def _numbers(found: Any) -> tuple[int, ...]:
    if not isinstance(found, list) or len(found) > 64:
        raise Unreadable(_DAMAGED)
    if not all(isinstance(number, int) and 0 <= number < 1 << 63 for number in found):
        raise Unreadable(_DAMAGED)
    return tuple(found)
