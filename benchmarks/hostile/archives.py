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
    body, directory, count = _packed(records, squeezed, root)
    if count < 0xFFFF:
        return body + directory + _end(count, len(directory), len(body))
    long = _long_end(count, len(directory), len(body)) + _locator(len(body) + len(directory))
    return body + directory + long + _end_behind_long()


def _packed(
    records: dict[str, bytes] | list[tuple[str, bytes]], squeezed: bool = False, root: str = "archive/", place: int = 0
) -> tuple[bytes, bytes, int]:
    """The records, the first of which the directory says is at `place`; the directory; how many there are."""
    parts, entries = [], []
    for name, data in records.items() if isinstance(records, dict) else records:
        packed = deflated(data) if squeezed else data
        raw = f"{root}{name}".encode("utf-8", "surrogatepass")
        fields = struct.pack(
            "<4H3L2H", 0x800, 8 if squeezed else 0, 0, 0, zlib.crc32(data), len(packed), len(data), len(raw), 0
        )
        parts += [b"PK\x03\x04\x14\0", fields, raw, packed]
        entries.append(b"PK\x01\x02\x14\0\x14\0" + fields + struct.pack("<3H2L", 0, 0, 0, 0, place) + raw)
        place += 30 + len(raw) + len(packed)
    return b"".join(parts), b"".join(entries), len(entries)


def _end(count: int, size: int, place: int) -> bytes:
    return struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, place, 0)


def _long_end(count: int, size: int, place: int) -> bytes:
    return struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, place)


def _locator(place: int) -> bytes:
    return struct.pack("<4sLQL", b"PK\x06\x07", 0, place, 1)


def _end_behind_long() -> bytes:
    return _end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def two_directories(python: dict[str, bytes], torch: dict[str, bytes]) -> bytes:
    """An archive in which Python finds some records and torch others of the same names.

    Python takes the directory to lie before its end, torch where its end says that it begins.
    """
    hidden, its_directory, count = _packed(torch)
    start = hidden + _packed(python)[0]
    # Python adds to all places by how much it finds the directory off
    directory = _packed(python, place=len(hidden) - len(its_directory))[1]
    return start + its_directory + directory + _end(count, len(directory), len(start))


def two_long_directories(python: dict[str, bytes], torch: dict[str, bytes]) -> bytes:
    """The same by the long form of a directory's end: torch goes where it is said to be, Python looks before that."""
    hidden, its_directory, count = _packed(torch)
    body, directory, _ = _packed(python, place=len(hidden))
    start = hidden + body + its_directory
    hidden_end = _long_end(count, len(its_directory), len(hidden) + len(body))
    place = len(start) + len(hidden_end)
    end = _long_end(count, len(directory), place) + _locator(len(start)) + _end_behind_long()
    return start + hidden_end + directory + end


def two_counts(shorter: dict[str, bytes], torch: dict[str, bytes]) -> bytes:
    """The short form of its end names one directory, the long one, which torch and Python read, another."""
    hidden, its_directory, count = _packed(torch)
    body, directory, shown = _packed(shorter, place=len(hidden))
    start = hidden + body + its_directory + directory
    long = _long_end(count, len(its_directory), len(hidden) + len(body))
    return start + long + _locator(len(start)) + _end(shown, len(directory), len(start) - len(directory))


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
