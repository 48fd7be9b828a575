"""Pickles without an archive: what torch.save wrote before version 1.6, and those of others."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace

from fxconv.inspection.found import Inspection, Part, Unreadable, with_rest
from fxconv.inspection.inert import read_pickle
from fxconv.inspection.objects import describe_objects
from fxconv.inspection.opened import Opened
from fxconv.inspection.tensors import Found, find_tensors, item_size

MAGIC = 0x1950A86A20F9469CFC6C
_LONGEST = 64 << 20


def inspect_pickle(opened: Opened, bare: Inspection) -> Inspection:
    """A file that begins with a pickle. Raises `Unreadable` when that is damaged, or no model's."""
    data = opened.up_to(0, _LONGEST)
    pickle = read_pickle(data)
    if pickle.value != MAGIC:
        found = list(find_tensors(pickle.value))
        parts = with_rest([Part("pickled objects", pickle.end)], opened.size, "after the pickle")
        read = replace(bare, parts=parts, tensors=tuple(one.tensor for one in found))
        return describe_objects(read, pickle)
    for _ in ("version", "system", "objects"):
        pickle = read_pickle(data, pickle.end)
    keys = read_pickle(data, pickle.end)
    end = keys.end
    if not isinstance(keys.value, list):
        raise Unreadable("is no file of torch.save's, though it begins like one; it is damaged")
    found = list(find_tensors(pickle.value))
    stored, after = _stored(opened, end, found, keys.value)
    parts = with_rest(
        [Part("pickled objects", end), Part("tensors", stored, len(keys.value))], opened.size, "sizes of the tensors"
    )
    facts = (("archive format", "before torch 1.6, no zip archive"),)
    problems = (f"{opened.size - after:,} bytes follow its last tensor",) if after < opened.size else ()
    read = replace(
        bare,
        facts=facts,
        parts=parts,
        problems=problems,
        tensors=tuple(sorted((one.tensor for one in found), key=lambda tensor: -tensor.bytes)),
        storages=_by_type(found),
    )
    return describe_objects(read, pickle)


def _stored(opened: Opened, place: int, found: list[Found], keys: list[object]) -> tuple[int, int]:
    """Bytes of all tensors behind the pickles, each after its number of values, and where the last of them ends."""
    sizes = {one.key: item_size(one.tensor.dtype) for one in found}
    total = 0
    for key in keys:
        size = struct.unpack("<q", opened.read(place, 8))[0] * sizes.get(str(key), 1)
        place += 8
        if size < 0 or place + size > opened.size:
            raise Unreadable(f"is truncated: its tensors go on beyond its end, {opened.size:,} bytes; copy it again")
        place += size
        total += size
    return total, place


def _by_type(found: list[Found]) -> tuple[tuple[str, int], ...]:
    """Bytes by type, those of tensors that share their values once."""
    sizes: Counter[str] = Counter()
    for one in {one.key: one for one in sorted(found, key=lambda one: one.tensor.bytes)}.values():
        sizes[one.tensor.dtype] += one.tensor.bytes
    return tuple(sizes.most_common())
