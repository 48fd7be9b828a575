"""Files that were damaged on their way."""

from __future__ import annotations

import random
import struct

from benchmarks.hostile.archives import records_of, zip_of
from benchmarks.hostile.kinds import Originals, any_file, any_zip, kind
from benchmarks.hostile.pickles import somewhere


@kind("truncated")
def truncated(rng: random.Random, files: Originals) -> bytes:
    data = any_file(rng, files)
    return data[: rng.randrange(len(data))]


@kind("bytes changed")
def changed(rng: random.Random, files: Originals) -> bytes:
    data = bytearray(any_file(rng, files))
    for _ in range(rng.choice([1, 4, 64, 1000])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


@kind("a stretch set to 0 or 255")
def blanked(rng: random.Random, files: Originals) -> bytes:
    data = bytearray(any_file(rng, files))
    begin, length = rng.randrange(len(data)), rng.choice([4, 100, 5000])
    data[begin : begin + length] = bytes([rng.choice([0, 255])]) * len(data[begin : begin + length])
    return bytes(data)


@kind("a stretch taken out or put in")
def shifted(rng: random.Random, files: Originals) -> bytes:
    data = any_file(rng, files)
    begin, length = rng.randrange(len(data)), rng.choice([1, 50, 3000])
    if rng.random() < 0.5:
        return data[:begin] + data[begin + length :]
    return data[:begin] + rng.randbytes(length) + data[begin:]


@kind("two files spliced")
def spliced(rng: random.Random, files: Originals) -> bytes:
    first, second = any_file(rng, files), any_file(rng, files)
    return first[: rng.randrange(len(first))] + second[rng.randrange(len(second)) :]


@kind("a zip directory changed")
def directory(rng: random.Random, files: Originals) -> bytes:
    data = bytearray(any_zip(rng, files))
    begin = data.index(b"PK\x01\x02")
    for _ in range(rng.choice([1, 2, 8])):
        data[rng.randrange(begin, len(data))] = rng.randrange(256)
    return bytes(data)


@kind("a pickle in it changed")
def pickles(rng: random.Random, files: Originals) -> bytes:
    records = records_of(any_zip(rng, files))
    name = rng.choice([name for name in records if name.endswith(".pkl")])
    data = bytearray(records[name])
    for _ in range(rng.choice([1, 2, 10])):
        place = rng.randrange(len(data))
        if rng.random() < 0.5:
            data[place] = rng.randrange(256)
        else:
            data[place : place + rng.randrange(1, 20)] = rng.choice([b"", data[:30], b"}", b"R", b"(", b"b.", b"0"])
        data = data or bytearray(b".")
    records[name] = bytes(data)
    return zip_of(records)


@kind("a pickle of random opcodes")
def random_pickle(rng: random.Random, files: Originals) -> bytes:
    pieces = [b"(", b")", b"]", b"}", b"N", b"a", b"e", b"s", b"u", b"t", b"R", b"b", b"o", b"0", b"1", b"2", b"\x81"]
    pieces += [b"\x85", b"\x86", b"\x87", b"\x88", b"\x94", b"Q", b"\x92", b"\x93", b"\x91", b"\x90", b"\x8f", b"K\x07"]
    pieces += [b"X\x01\0\0\0a", b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n"]
    pieces += [b"h\x00", b"q\x00", b"h\x01", b"q\x01", b"ibuiltins\neval\n", b"Pab\n", b"\x82\x01", b"I01\n", b"L5L\n"]
    body = b"\x80\x02" + b"".join(rng.choices(pieces, k=rng.choice([5, 50, 500]))) + b"."
    return somewhere(rng, files, body)


@kind("a flatbuffer, ONNX or safetensors changed")
def others(rng: random.Random, files: Originals) -> bytes:
    data = bytearray(files[rng.choice(["flat.ptl", "model.pte", "model.onnx", "weights.safetensors"])])
    for _ in range(rng.choice([1, 3, 20])):
        place = rng.randrange(len(data))
        if rng.random() < 0.3:
            data[place : place + 4] = struct.pack("<I", rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, len(data), 1 << 20]))
        elif not 4 <= place < 8:  # by these it is recognised
            data[place] = rng.randrange(256)
    return bytes(data)


@kind("random bytes behind a known beginning")
def beginnings(rng: random.Random, files: Originals) -> bytes:
    start = rng.choice(
        [
            b"PK\x03\x04",
            b"PK\x05\x06",
            b"\x80\x02",
            b"\x80\x04\x95",
            b"\x08\x08",
            b"",
            b"\x1c\x00\x00\x00ET12",
            b"\x93NUMPY",
            b" \x00\x00\x00PTMF",
            b"\x18\x00\x00\x00TFL3",
            b'@\x00\x00\x00\x00\x00\x00\x00{"',
            b"\x1f\x8b",
            b"#!/bin/sh\n",
            b"\x1b[2J\x1b]0;",
        ]
    )
    return start + rng.randbytes(rng.choice([1, 30, 3000]))
