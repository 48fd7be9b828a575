"""A zip archive as torch writes it, read with care: its directory, and single records of it.

Python's own reader believes what the directory says of sizes and places. Here nothing is unpacked before it was asked
whether it fits: sizes against the file, records against each other, names against each other and against the headers
before the records, which other readers go by.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from fxconv.inspection.found import Unreadable
from fxconv.inspection.opened import Opened

BEGINNING = b"PK\x03\x04"
_ENTRY, _END, _END64, _LOCATOR = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END64_SIZE, _LOCATOR_SIZE, _MOST_SHORT = 56, 20, (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
_LONGEST_COMMENT = 65_535
_MOST_RECORDS = 100_000
_MOST_DIRECTORY = 64 << 20
_STORED, _DEFLATED = 0, 8
# Deflate shortens to no less than a 1032nd. torch deflates code and nothing else.
_MOST_SHORTENED, _MOST_DEFLATED = 1032, 256 << 20
_MOST_CHECKED = 1 << 30
_AT_ONCE = 1 << 20
_DAMAGED = "its zip directory is damaged; copy it again"
_TWO_DIRECTORIES = "its zip directory says two things, and readers differ in which they take; do not use it"


@dataclass(frozen=True)
class Record:
    """A record of the archive: where its header is, its bytes in the file and unpacked, and its checksum."""

    name: str
    header: int
    stored: int
    bytes: int
    method: int
    checksum: int


@dataclass(frozen=True)
class Archive:
    """The records by name, without the folder all of them lie in; `problems` that keep nobody from reading it."""

    opened: Opened
    root: str
    records: dict[str, Record]
    problems: tuple[str, ...]

    def read(self, name: str, most: int) -> bytes:
        """A record, unpacked. Raises `Unreadable` when it is longer than `most` bytes, or damaged."""
        record = self.records[name]
        if record.bytes > most:
            raise Unreadable(f"its {name} has {record.bytes:,} bytes; fxconv reads up to {most:,} of such a record")
        return b"".join(self._unpacked(record))

    def damaged(self) -> list[str]:
        """The names of all records that do not match their checksums.

        A checksum of 0 is none: torch can be told to compute none. An archive of more than a gigabyte is not read.
        """
        if self.opened.size > _MOST_CHECKED:
            return []
        found = []
        for name, record in self.records.items():
            checksum = 0
            for chunk in self._unpacked(record):
                checksum = zlib.crc32(chunk, checksum)
            if checksum != record.checksum != 0:
                found.append(name)
        return found

    def _unpacked(self, record: Record) -> Iterator[bytes]:
        begin = _data_begins(self.opened, record)
        if record.method == _STORED:
            yield from self.opened.chunks(begin, record.stored)
            return
        inflate, left = zlib.decompressobj(-15), record.bytes
        try:
            for chunk in self.opened.chunks(begin, record.stored):
                while chunk and left >= 0:  # a megabyte may unpack to a thousand
                    found = inflate.decompress(chunk, _AT_ONCE)
                    chunk, left = inflate.unconsumed_tail, left - len(found)
                    yield found
            if left > 0:
                found = inflate.flush()  # the last few hundred bytes
                left -= len(found)
                yield found
        except zlib.error as error:
            raise Unreadable(f"its {record.name} is damaged; copy it again") from error
        if left or not inflate.eof:
            raise Unreadable(
                f"its {record.name} unpacks to another size than it says; it is damaged or made to deceive"
            )


def read_archive(opened: Opened) -> Archive:
    """The directory of the archive. Raises `Unreadable` for one that is damaged, or made to harm its readers."""
    end = _end(opened)
    count, size, begin, directory_end = _place(opened, end)
    problems = []
    if count > _MOST_RECORDS or size > _MOST_DIRECTORY:
        raise Unreadable(f"its zip directory lists {count:,} records in {size:,} bytes; no model has that many")
    if begin + size != directory_end:  # Python looks for it before its end, torch where it is said to begin
        raise Unreadable(_TWO_DIRECTORIES if begin + size < directory_end else _DAMAGED)
    records = list(_records(opened.read(begin, size), count))
    _check_names(records)
    _check_places(records, begin)
    after = opened.size - end - 22 - struct.unpack("<H", opened.read(end + 20, 2))[0]
    if after:
        problems.append(f"{abs(after):,} bytes {'follow the archive' if after > 0 else 'are missing at its end'}")
    for record in records:
        _check_header(opened, record)
    root = _root(records)
    kept = {record.name[len(root) :]: record for record in records if not record.name.endswith("/")}
    return Archive(opened, root.rstrip("/"), kept, tuple(problems))


def _end(opened: Opened) -> int:
    """Where the archive's last header is."""
    tail = min(opened.size, _LONGEST_COMMENT + 22)
    found = opened.read(opened.size - tail, tail).rfind(_END)
    if found < 0 or tail - found < 22:
        raise Unreadable(
            f"is truncated: its zip directory is missing (it ends after {opened.size:,} bytes); copy it again"
        )
    return opened.size - tail + found


def _place(opened: Opened, end: int) -> tuple[int, int, int, int]:
    """How many records there are, the directory's size and place, and where it has to end.

    torch writes the long form before the short one, whether it is needed or not, and reads the long one alone; others
    read the short one, or look for the long one elsewhere. So both must be there, in one place, and say the same.
    """
    _, disk, first, *short = struct.unpack("<4s4H2L", opened.read(end, 20))
    if disk or first:
        raise Unreadable("is one of several volumes of a zip archive; join them")
    found, place = short, end
    if _has_locator(opened, end):
        place = end - _LOCATOR_SIZE - _END64_SIZE
        found = _long_form(opened, end, place)
        if any(a not in (b, most) for a, b, most in zip(short, found, _MOST_SHORT, strict=True)):
            raise Unreadable(_TWO_DIRECTORIES)
    elif any(a == most for a, most in zip(short, _MOST_SHORT, strict=True)):
        raise Unreadable(_DAMAGED)
    here, count, size, begin = found
    if here != count:
        raise Unreadable(_TWO_DIRECTORIES)
    return count, size, begin, place


def _has_locator(opened: Opened, end: int) -> bool:
    return end >= _LOCATOR_SIZE and opened.read(end - _LOCATOR_SIZE, 4) == _LOCATOR


def _long_form(opened: Opened, end: int, place: int) -> list[int]:
    """What the long form at `place` says: the records of this volume and of all, the directory's size and place."""
    if opened.read(place, 4) != _END64:
        raise Unreadable(_DAMAGED)
    if struct.unpack("<Q", opened.read(end - 12, 8))[0] != place:
        raise Unreadable(_TWO_DIRECTORIES)
    disk, first, *found = struct.unpack("<2L4Q", opened.read(place + 16, 40))
    if disk or first:
        raise Unreadable(_TWO_DIRECTORIES)
    return found


def _records(directory: bytes, count: int) -> Iterator[Record]:
    place = 0
    try:
        for _ in range(count):
            fields = struct.unpack_from("<4s6H3L5H2L", directory, place)
            mark, flags, method, checksum = fields[0], fields[3], fields[4], fields[7]
            stored, size, name_length, extra_length, comment_length, header = *fields[8:13], fields[16]
            if mark != _ENTRY:
                raise Unreadable(_DAMAGED)
            name = directory[place + 46 : place + 46 + name_length].decode("utf-8", "backslashreplace")
            extra = directory[place + 46 + name_length : place + 46 + name_length + extra_length]
            size, stored, header = _long_numbers(extra, (size, stored, header))
            place += 46 + name_length + extra_length + comment_length
            if flags & 1:
                raise Unreadable("is encrypted; unpack it with its password first")
            if method not in (_STORED, _DEFLATED) or (method == _STORED and stored != size):
                raise Unreadable(f"its {name[:100]} is packed in a way torch does not write; {_DAMAGED}")
            yield Record(name, header, stored, size, method, checksum)
    except struct.error as error:
        raise Unreadable(_DAMAGED) from error
    if place != len(directory):
        raise Unreadable(_DAMAGED)


def _long_numbers(extra: bytes, numbers: tuple[int, int, int]) -> tuple[int, int, int]:
    """Sizes and place of a record: those that do not fit 32 bits stand in the extra field, in this order."""
    place = 0
    while place + 4 <= len(extra) and 0xFFFFFFFF in numbers:
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1:
            long = iter(struct.unpack(f"<{length // 8}Q", extra[place + 4 : place + 4 + length // 8 * 8]))
            size, stored, header = (next(long, n) if n == 0xFFFFFFFF else n for n in numbers)
            return size, stored, header
        place += 4 + length
    return numbers


def _check_names(records: list[Record]) -> None:
    seen = set()
    for record in records:
        name = record.name
        if "\\" in name or "\0" in name or name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
            raise Unreadable(f'holds a record named "{name[:100]}", which leads out of it; do not unpack it anywhere')
        if name.lower() in seen:  # torch takes no notice of case
            raise Unreadable(f"holds {name[:100]} twice, and readers differ in which they take; do not use it")
        seen.add(name.lower())


def _check_places(records: list[Record], directory: int) -> None:
    """Records must lie one behind the other before the directory, and unpack to what memory can hold."""
    ordered = sorted(records, key=lambda record: record.header)
    ends = [*(one.header for one in ordered), directory][1:]  # none of an empty archive
    for record, after in zip(ordered, ends, strict=True):
        if record.header + 30 + record.stored > after:
            raise Unreadable(f"its {record.name[:100]} overlaps what follows it; it is damaged or made to deceive")
        if record.bytes > _MOST_SHORTENED * record.stored + 64:
            raise Unreadable(f"its {record.name[:100]} says it unpacks to {record.bytes:,} bytes, which it cannot")
    deflated = sum(record.bytes for record in records if record.method == _DEFLATED)
    if deflated > _MOST_DEFLATED:
        raise Unreadable(f"unpacks to {deflated:,} bytes and more, which no model's code has; do not unpack it")


def _check_header(opened: Opened, record: Record) -> None:
    """What stands before the record must be what the directory says of it: some readers go by that."""
    header = opened.read(record.header, 30)
    method, length = struct.unpack_from("<H", header, 8)[0], struct.unpack_from("<H", header, 26)[0]
    name = opened.read(record.header + 30, length).decode("utf-8", "backslashreplace")
    if header[:4] != BEGINNING or name != record.name or method != record.method:
        raise Unreadable(f"its {record.name[:100]} is not where its zip directory says; it is damaged; copy it again")


def _data_begins(opened: Opened, record: Record) -> int:
    name, extra = struct.unpack("<2H", opened.read(record.header + 26, 4))
    return int(record.header + 30 + name + extra)


def _root(records: list[Record]) -> str:
    """The folder in which all records lie, as torch makes one, with its slash; "" when there is none."""
    first = records[0].name.partition("/")[0] + "/" if records else ""
    return first if all(record.name.startswith(first) for record in records) else ""
