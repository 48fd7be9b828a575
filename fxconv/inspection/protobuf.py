"""Protocol buffers, walked field by field without the schema that made them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_MOST_FIELDS, _LONGEST_TEXT = 1_000_000, 1000


class NotOne(ValueError):
    """These bytes are no protocol buffer, or not all of one."""


@dataclass(frozen=True)
class Field:
    """A field: its number, and what it holds: a number, or the bytes from `begin` to `end`."""

    number: int
    value: int
    begin: int
    end: int

    @property
    def bytes(self) -> int:
        return self.end - self.begin


class Message:
    """A protocol buffer. Everything raises `NotOne` where it is none, or has more than a million fields."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._left = _MOST_FIELDS

    def fields(self, within: Field | None = None) -> Iterator[Field]:
        """The fields of the message, or of the message that is in one of its fields."""
        place, end = (within.begin, within.end) if within else (0, len(self.data))
        while place < end:
            tag, place = self._number(place, end)
            number, kind, value, begin, length = tag >> 3, tag & 7, 0, place, 0
            self._left -= 1
            if not number or self._left < 0:
                raise NotOne
            if kind == 0:
                value, place = self._number(place, end)
            elif kind == 2:
                length, begin = self._number(place, end)
                place = begin + length
            elif kind in (1, 5):
                place += 8 if kind == 1 else 4
            else:
                raise NotOne
            if place > end:
                raise NotOne
            yield Field(number, value, begin, begin + length)

    def inside(self, within: Field) -> dict[int, Field]:
        """The fields of the message in a field, by number; of those that come again the last."""
        return {one.number: one for one in self.fields(within)}

    def text(self, field: Field | None) -> str:
        """What a field holds as text, at most a thousand bytes of it; "" of none."""
        if field is None:
            return ""
        return bytes(self.data[field.begin : min(field.end, field.begin + _LONGEST_TEXT)]).decode("utf-8", "replace")

    def numbers(self, field: Field) -> list[int]:
        """The numbers of a field that holds one or, packed, several."""
        if not field.bytes:
            return [field.value]
        found, place = [], field.begin
        while place < field.end:
            number, place = self._number(place, field.end)
            self._left -= 1
            if self._left < 0:
                raise NotOne
            found.append(number)
        return found

    def _number(self, place: int, end: int) -> tuple[int, int]:
        """A number of up to 64 bits, and the place behind it."""
        value = 0
        for shift in range(0, 70, 7):
            if place >= end:
                break
            byte = self.data[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, place
        raise NotOne
