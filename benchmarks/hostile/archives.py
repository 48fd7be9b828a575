"""Zip archives, right and wrong, byte by byte: Python's own writer refuses half of what a hostile one holds."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib


def records_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def zip_of(
    records: dict[str, bytes] | list[tuple[str, bytes]], squeezed: bool = False, root: str = "archive/"
) -> bytes:
    """A zip archive with any names, a name twice if need be; torch has all of them in one folder."""
    parts, entries, place = [], [], 0
    for name, data in records.items() if isinstance(records, dict) else records:
        packed = deflated(data) if squeezed else data
        raw = f"{root}{name}".encode("utf-8", "surrogatepass")
        fields = struct.pack(
            "<4H3L2H", 0x800, 8 if squeezed else 0, 0, 0, zlib.crc32(data), len(packed), len(data), len(raw), 0
        )
        parts += [b"PK\x03\x04\x14\0", fields, raw, packed]
        entries.append(b"PK\x01\x02\x14\0\x14\0" + fields + struct.pack("<3H2L", 0, 0, 0, 0, place) + raw)
        place += 30 + len(raw) + len(packed)
    directory, count = b"".join(entries), len(entries)
    if count < 0xFFFF:
        return b"".join(
            [*parts, directory, struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), place, 0)]
        )
    long = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), place)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, place + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return b"".join([*parts, directory, long, locator, end])


def deflated(data: bytes) -> bytes:
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


def overlapping(name: str, count: int) -> bytes:
    """A bomb whose records all share one body: each is a name for the same megabytes."""
    body, size = deflated(bytes(8 << 20)), 8 << 20
    fields = struct.pack("<4H3L", 0, 8, 0, 0, zlib.crc32(bytes(size)), len(body), size)
    raw = f"archive/{name}".encode()
    start = b"PK\x03\x04\x14\0" + fields + struct.pack("<2H", len(raw), 0) + raw + body
    entries = b""
    for number in range(count):
        other = raw if not number else f"archive/data/{number}".encode()
        entries += b"PK\x01\x02\x14\0\x14\0" + fields + struct.pack("<5H2L", len(other), 0, 0, 0, 0, 0, 0) + other
    return start + entries + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(entries), len(start), 0)
