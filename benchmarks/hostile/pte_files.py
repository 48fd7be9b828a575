"""ExecuTorch programs that were damaged, that lie in one field, or that ask for more than there is."""

from __future__ import annotations

import random
import struct

from benchmarks.hostile.formats import Raw, flatbuffer_of, vector
from benchmarks.hostile.kinds import Originals, kind
from benchmarks.hostile.pte import NAMES
from benchmarks.hostile.pte.places import places

_NUMBERS = (0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 127, 255, 1000, 65535, 1 << 20, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63)
_FLOATS = (0.0, -1.0, 1e-45, 1e38, float("inf"), float("nan"), 0.5)
_SIZES = {"b": 8, "B": 8, "h": 16, "i": 32, "I": 32, "q": 64, "Q": 64}


@kind("ExecuTorch programs damaged")
def damaged(rng: random.Random, files: Originals) -> bytes:
    data = bytearray(files[rng.choice(NAMES)])
    how = rng.randrange(5)
    if how == 0:
        return bytes(data[: rng.randrange(len(data))])
    if how == 1:
        begin, length = rng.randrange(len(data)), rng.choice([4, 50, 2000])
        return bytes(
            data[:begin] + (rng.randbytes(length) + data[begin:] if rng.random() < 0.5 else data[begin + length :])
        )
    for _ in range(rng.choice([1, 1, 2, 8])):
        if how == 2:
            data[rng.randrange(8, len(data))] = rng.randrange(256)
        else:  # a word of the flatbuffers
            place = rng.randrange(2, len(data) // 4) * 4
            old = struct.unpack_from("<I", data, place)[0]
            new = rng.choice([*_NUMBERS[:-1], old + 1, old - 1, 2 * old])
            struct.pack_into("<I", data, place, new & 0xFFFFFFFF)
    return bytes(data)


@kind("ExecuTorch programs with a field that lies")
def lying(rng: random.Random, files: Originals) -> bytes:
    """Scales, dims, ids, offsets, sizes: one to three numbers of the program, or of a graph in it, are others."""
    data = bytearray(files[rng.choice(NAMES)])
    found = places(bytes(data))
    names = sorted({one.name for one in found})
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        name = rng.choice(names)  # a rare field as often as a common one
        place = rng.choice([one for one in found if one.name == name])
        if place.form == "f":
            struct.pack_into("<f", data, place.begin, rng.choice(_FLOATS))
            continue
        old = struct.unpack_from(f"<{place.form}", data, place.begin)[0]
        new = rng.choice([*_NUMBERS, old + 1, old - 1, old + 8, 2 * old])
        bits = _SIZES[place.form]
        struct.pack_into(f"<{place.form.upper()}", data, place.begin, new & ((1 << bits) - 1))
    return bytes(data)


@kind("ExecuTorch programs that ask for much")
def asking(rng: random.Random, files: Originals) -> bytes:
    """Memory, values and delegates without end, and texts that speak to the terminal."""
    return rng.choice((_memory, _shared, _texts, _jumps))(rng)


def _program(plans: list[dict[int, object]], **further: object) -> bytes:
    return flatbuffer_of({0: bytes(4), 1: plans, **{int(name[1:]): value for name, value in further.items()}}, b"ET12")


def _memory(rng: random.Random) -> bytes:
    """A tensor of terabytes, planned or constant."""
    sides = vector("I", *rng.choices([1 << 16, 1 << 30, 0x7FFFFFFF, 1], k=3))
    tensor = {0: b"\x06", 2: sides, 3: vector("B", 0, 1, 2), 6: {0: struct.pack("<I", 1)}}
    if rng.random() < 0.5:
        tensor = {**tensor, 5: struct.pack("<I", 1)}
    arenas = vector("q", 0, rng.choice([1 << 20, 1 << 40, (1 << 63) - 1]))
    plan = {0: "forward", 2: [{0: b"\x05", 1: tensor}], 3: vector("i", 0), 8: arenas}
    return _program([plan])


def _shared(rng: random.Random) -> bytes:
    """Very many delegates, methods or values, all of them the same one."""
    count = rng.choice([1000, 100_000, 310_000])
    text = {0: b"\x06", 1: {0: "x" * rng.choice([10, 5000])}}
    plan = {0: "forward", 2: [text] * count, 7: [{0: "XnnpackBackend", 1: {1: bytes(4)}}] * count}
    return _program([plan] * rng.choice([1, 1000]), _3=[{0: Raw(struct.pack("<I", 40) + bytes(40))}])


def _texts(rng: random.Random) -> bytes:
    text = rng.choice(
        ["\x1b[2J\x1b]0;owned\x07", "[bold]b[/]", "a\nb\r", "\x9b2J", "x" * 300_000, "\n" * 50_000, "[" * 100_000]
    )
    names = ["fxconv_metadata", "fxconv_golden", text[:200], "labels"]
    plans = [{0: name, 2: [{0: b"\x06", 1: {0: text}}], 4: vector("i", 0), 7: [{0: text[:100]}]} for name in names]
    return _program(plans)


def _jumps(rng: random.Random) -> bytes:
    """A program that goes round, or out of itself."""
    to = rng.choice([0, 1, -1, 0x7FFFFFFF])
    steps = [{0: b"\x04", 1: {1: struct.pack("<i", to)}}]
    return _program([{0: "forward", 2: [{0: b"\x03", 1: {0: b"\x00"}}], 5: [{2: steps}]}])
