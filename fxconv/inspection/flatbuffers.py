"""Flatbuffers, read field by field: tables point to their fields, and every pointer is asked where it leads."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fxconv.inspection.found import Unreadable

_MOST_STEPS, _LONGEST_TEXT = 300_000, 10_000
_DAMAGED = "is damaged or truncated: it points beyond its end; copy it again"


class TooManyRows(Unreadable):
    """A file in which there is no end to what is to be read."""


@dataclass
class Budget:
    """How many more rows may be read: a small file may point to one table a million times over."""

    left: int = _MOST_STEPS

    def spend(self, steps: int) -> None:
        """Raises `TooManyRows` when nothing is left."""
        self.left -= steps
        if self.left < 0:
            raise TooManyRows(f"has more than {_MOST_STEPS:,} rows; no program has so many")


@dataclass(frozen=True)
class Table:
    """A table in `data`; its fields are numbered in the order of the schema that describes it."""

    data: memoryview
    place: int
    budget: Budget

    def _field(self, number: int) -> int:
        """Where a field is; 0 when the table does not have it."""
        layout = self.place - self.number_at(self.place, "<i")
        slot = 4 + 2 * number
        if slot + 2 > self.number_at(layout, "<H"):
            return 0
        offset = self.number_at(layout + slot, "<H")
        return self.place + offset if offset else 0

    def number_at(self, place: int, form: str) -> int:
        try:
            if place < 0:
                raise Unreadable(_DAMAGED)
            return int(struct.unpack_from(form, self.data, place)[0])
        except struct.error as error:
            raise Unreadable(_DAMAGED) from error

    def number(self, number: int, form: str, default: int = 0) -> int:
        """A field that is a number, packed as `struct` writes `form`."""
        place = self._field(number)
        return self.number_at(place, form) if place else default

    def table(self, number: int) -> Table | None:
        """A field that is a table, or the value of a union."""
        place = self._field(number)
        return self._at(place) if place else None

    def _at(self, place: int) -> Table:
        return Table(self.data, place + self.number_at(place, "<I"), self.budget)

    def text(self, number: int) -> str:
        """A field that is a string; "" when there is none."""
        content = bytes(self.bytes(number)[:_LONGEST_TEXT])
        self.budget.spend(len(content) // 100)
        return content.decode("utf-8", "replace")

    def bytes(self, number: int) -> memoryview:
        """A field that is a string or a vector of bytes."""
        begin, count = self.vector(number)
        if begin + count > len(self.data):
            raise Unreadable(_DAMAGED)
        return self.data[begin : begin + count]

    def vector(self, number: int) -> tuple[int, int]:
        """Where the first element of a vector is, and how many there are."""
        place = self._field(number)
        if not place:
            return 0, 0
        begin = place + self.number_at(place, "<I")
        return begin + 4, self.number_at(begin, "<I")

    def numbers(self, number: int, form: str) -> tuple[int, ...]:
        """A field that is a vector of whole numbers, each packed as `struct` writes `form`."""
        begin, count = self.vector(number)
        size = struct.calcsize(form)
        if begin + size * count > len(self.data):
            raise Unreadable(_DAMAGED)
        self.budget.spend(count)
        return struct.unpack_from(f"<{count}{form[-1]}", self.data, begin)

    def real(self, number: int, form: str = "<f") -> float:
        """A field that is a number with a fraction."""
        place = self._field(number)
        if not place:
            return 0.0
        if place + struct.calcsize(form) > len(self.data):
            raise Unreadable(_DAMAGED)
        return float(struct.unpack_from(form, self.data, place)[0])

    def raw(self, number: int, size: int) -> memoryview:
        """A field that is a vector of values of `size` bytes each, as the bytes that they are."""
        begin, count = self.vector(number)
        if begin + size * count > len(self.data):
            raise Unreadable(_DAMAGED)
        return self.data[begin : begin + size * count]

    def union(self, number: int) -> tuple[int, Table | None]:
        """A field that is a union: which of its members it is, 0 for none, and that member."""
        kind = self.number(number, "<B")
        return kind, self.table(number + 1) if kind else None

    def tables(self, number: int) -> Iterator[Table]:
        """A field that is a vector of tables."""
        begin, count = self.vector(number)
        if begin + 4 * count > len(self.data):
            raise Unreadable(_DAMAGED)
        self.budget.spend(count)
        for place in range(begin, begin + 4 * count, 4):
            yield self._at(place)


def root(data: memoryview, budget: Budget | None = None) -> Table:
    """The table that a flatbuffer begins with; several may share one budget."""
    return Table(data, 0, budget or Budget())._at(0)
