"""Names for the numbers in which modules of one class differ."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from typing import Any

from rewrites.emit.text import Slot

_IN = ("in_channels", "in_features")
_OUT = ("out_channels", "out_features")
# Parts whose name says no more than the setting does.
_PLAIN = frozenset({"conv", "bn", "linear", "fc"})


def named(blocks: Sequence[Sequence[Slot]]) -> list[str]:
    """For each slot of blocks that are alike the name of its parameter; "" where the blocks have one number.

    Slots that have the same number in every block share a parameter.
    """
    if len(blocks) == 1:
        return [""] * len(blocks[0])
    first = blocks[0]
    vectors = [tuple(_key(block[index].value) for block in blocks) for index in range(len(first))]
    groups: dict[tuple[Any, ...], list[Slot]] = {}
    for index, (slot, vector) in enumerate(zip(first, vectors, strict=True)):
        if len(set(vector)) > 1 and not all(block[index].is_default for block in blocks):
            groups.setdefault(vector, []).append(slot)
    inward = next((slot for slot in first if slot.setting in _IN), None)
    outward = next((slot for slot in reversed(first) if slot.setting in _OUT), None)
    settings = [setting for group in groups.values() for setting in {slot.setting for slot in group}]
    names: dict[tuple[Any, ...], str] = {}
    for vector, group in groups.items():
        wanted = _candidates(group, inward, outward, settings)
        free = next((name for name in wanted if name not in names.values()), "")
        count = 1
        while not free:
            count += 1
            name = f"{wanted[-1]}_{count}"
            free = "" if name in names.values() else name
        names[vector] = free
    return [names.get(vector, "") for vector in vectors]


def _key(value: Any) -> Any:
    return (type(value).__name__, value)


def _candidates(group: Sequence[Slot], inward: Slot | None, outward: Slot | None, settings: Sequence[str]) -> list[str]:
    """What a parameter may be called, the best first."""
    found = []
    if any(slot is inward for slot in group):
        found.append("in_channels" if inward and inward.setting == "in_channels" else "in_features")
    if any(slot is outward for slot in group):
        found.append("out_channels" if outward and outward.setting == "out_channels" else "out_features")
    found += [f"{_words(slot)}_{slot.setting.partition('_')[2]}" for slot in group if slot.setting in _OUT]
    found += [slot.setting for slot in group if slot.setting and settings.count(slot.setting) == 1]
    found += [f"{_words(slot)}_{slot.setting}" if slot.setting else _words(slot) for slot in group]
    found = [name if name.isidentifier() and not keyword.iskeyword(name) else f"n_{name}" for name in found]
    return found or ["number"]


def _words(slot: Slot) -> str:
    """What a slot is of, as part of a name."""
    parts = slot.of.split(".")
    return "_".join(parts[:-1] if len(parts) > 1 and parts[-1] in _PLAIN else parts)
