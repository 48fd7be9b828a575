"""Pickles made to harm whoever unpickles them, or to be too much for who only reads them."""

from __future__ import annotations

import pickle
import random
import struct
from collections.abc import Callable

from benchmarks.hostile.archives import records_of, zip_of
from benchmarks.hostile.kinds import Originals, kind

MARK = "fxconv-was-here"  # the file that hostile code would write


class Calls:
    """Pickles as a call."""

    def __init__(self, what: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self.call = (what, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def somewhere(rng: random.Random, files: Originals, body: bytes) -> bytes:
    """A pickle in one of the places where a reader meets one, in a file that is right otherwise."""
    place = rng.choice(["bare", "old", "data.pkl", "bytecode.pkl", "constants.pkl"])
    if place == "bare":
        return body
    if place == "old":
        return b"".join(
            [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), b"\x80\x02}.", body, b"\x80\x02]."]
        )
    return zip_of({**records_of(files["lite.ptl"]), place: body})


@kind("code to run in a pickle")
def code(rng: random.Random, files: Originals) -> bytes:
    command = f"open('{MARK}', 'w').close()"
    shell = f"touch {MARK}"
    body = rng.choice(
        [
            pickle.dumps(Calls(eval, (command,)), 2),
            pickle.dumps(Calls(exec, (command,)), 4),
            pickle.dumps([1, {"a": Calls(open, (MARK, "w"))}], 2),
            b"cposix\nsystem\n(X%s%stR." % (struct.pack("<I", len(shell)), shell.encode()),
            b"(X%s%sios\nsystem\n." % (struct.pack("<I", len(shell)), shell.encode()),
            b"(cos\nsystem\nX%s%so." % (struct.pack("<I", len(shell)), shell.encode()),
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c%c%s\x85R." % (len(shell), shell.encode()),
            b"\x80\x02cbuiltins\neval\n(X%s%st\x81." % (struct.pack("<I", len(command)), command.encode()),
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(cos\nsystem\nK\x00(K\x01tt"
            + b"R(X\x07\0\0\0storage(X%s%sios\nsystem\n." % (struct.pack("<I", len(shell)), shell.encode()),
        ]
    )
    return somewhere(rng, files, body if body[:1] == b"\x80" else b"\x80\x02" + body)


@kind("pickles nested deep, cyclic or doubling")
def deep(rng: random.Random, files: Originals) -> bytes:
    depth = rng.choice([300, 5000, 200_000])
    bodies = [
        b"(" * depth + b"t" * depth,
        b"]" * depth + b"a" * (depth - 1),
        b"}" * depth + b"".join([b"X\x01\0\0\0k" * 0]) + b"X\x01\0\0\0kK\x01s",
        b"N" + b"\x85" * depth,
        b"N" + b"\x85" * depth + b"}\x86" + b"h\x00" * 0,
        b"]q\x00h\x00a",  # a list in itself
        b"}q\x00X\x01\0\0\0kh\x00s",  # a dict in itself
        b"]q\x00" + b"".join(b"]q%ch%ch%ceh%c" % (n, n - 1, n - 1, n) for n in range(1, 60)).replace(b"e", b"aa"),
        b"(cbuiltins\nlist\n" * depth + b"o" * depth,
        b"ctorch\nSize\n" + b")R" * depth,
        b"N" + b"Q" * depth,
        b"}" + b"X\x01\0\0\0k}s" * depth,
        b"2" * depth,
        b"K\x01" * depth,
    ]
    return somewhere(rng, files, b"\x80\x02" + rng.choice(bodies) + b".")


@kind("pickles with huge numbers")
def huge(rng: random.Random, files: Originals) -> bytes:
    big = rng.choice([1 << 20, 1 << 31, (1 << 62) + 1, (1 << 64) - 1])
    side = b"\x8a\x08" + struct.pack("<q", min(big, (1 << 63) - 1))
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + side + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00(" + side * 3 + b"t(K\x01t\x89NtR"
    bodies = [
        b"\x8e" + struct.pack("<Q", big) + b"short",
        b"\x8d" + struct.pack("<Q", big) + b"short",
        b"X" + struct.pack("<I", min(big, (1 << 32) - 1)) + b"short",
        b"\x8b" + struct.pack("<i", 40_000) + bytes(39_999) + b"\x01",
        b"\x8b" + struct.pack("<i", -1),
        b"I" + b"9" * rng.choice([100, 5000, 200_000]) + b"\n",
        b"L" + b"9" * rng.choice([100, 4000, 200_000]) + b"L\n",
        b"F" + b"9" * 5000 + b"\n",
        b"Nr" + struct.pack("<I", min(big, (1 << 32) - 1)),
        b"j" + struct.pack("<I", min(big, (1 << 32) - 1)),
        b"\x95" + struct.pack("<Q", big) + b"N",
        b"}X\x01\0\0\0w" + tensor + b"s",
        b"}" + b"X\x01\0\0\0w" + tensor.replace(side * 3, side * 200) + b"s",
        b"(K\x08X\x01\0\0\0f((X\x0c\0\0\0instructions((X\x02\0\0\0OP" + side + b"K\x00ttX\x09\0\0\0operators)tttt",
    ]
    return somewhere(rng, files, b"\x80\x02" + rng.choice(bodies) + b".")
