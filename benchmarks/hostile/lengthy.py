"""Files of a few megabytes that take a careless reader hours: they say one thing a million times, or nothing at all."""

from __future__ import annotations

import random
import struct

from benchmarks.hostile.archives import records_of, zip_of
from benchmarks.hostile.formats import flatbuffer_of, onnx_of
from benchmarks.hostile.kinds import Originals, kind


@kind("files that take hours to read")
def hours(rng: random.Random, files: Originals) -> bytes:
    makers = (_functions, _code, _shared_tables, _fields, _extras, _tensors, _keys)
    return rng.choice(makers)(rng, files)


def _functions(rng: random.Random, files: Originals) -> bytes:
    """One function of many instructions, which the program holds many times over."""
    rows, times = rng.choice([1000, 60_000]), rng.choice([1000, 100_000])
    table = b"(X\x0c\0\0\0instructions(" + b"X\x02\0\0\0OPK\x00K\x00\x87" * rows + b"t\x86"
    operators = b"X\x09\0\0\0operators(X\x09\0\0\0aten::addX\0\0\0\0K\x02\x87t\x86t"
    body = b"\x80\x02(K\x08X\x01\0\0\0f" + table + operators + b"\x86q\x00" + b"h\x00" * times + b"t."
    return zip_of({**records_of(files["lite.ptl"]), "bytecode.pkl": body})


def _code(rng: random.Random, files: Originals) -> bytes:
    """Code of quotes without an end, of names without an end, of calls."""
    text = rng.choice([rb"\"", b"'\"", b"torch.", b"ops.a", b"ops.aten.add(", b'"\n', b"\\"])
    return zip_of({**records_of(files["full.pt"]), "code/long.py": b'"' + text * (rng.choice([1, 6]) << 18)})


def _shared_tables(rng: random.Random, files: Originals) -> bytes:
    """A program whose methods are all the same one, and all operators of that one too."""
    count = rng.choice([1000, 300_000])
    operators = [{0: "aten::add", 1: "out"}] * count
    if rng.random() < 0.5:
        return flatbuffer_of({1: [{0: "forward", 6: operators}] * count}, b"ET12")
    return flatbuffer_of({4: [{0: b"\x10", 1: {0: "forward", 2: operators}}] * count}, b"PTMF")


def _fields(rng: random.Random, files: Originals) -> bytes:
    """An ONNX model of nodes that say nothing, or of fields that mean nothing."""
    count = rng.choice([100_000, 1_500_000])
    if rng.random() < 0.5:
        return onnx_of([("", "")] * (count // 10), {"w": ([1] * (count // 10), b"")})
    return b"\x08\x08" * count + onnx_of([("Add", "")], {})


def _extras(rng: random.Random, files: Originals) -> bytes:
    """Extra files, each as long as is shown."""
    text = rng.choice([b"a\n", b'{"a": 1}', b"\x1b"]) * 20_000
    return zip_of(
        {**records_of(files["lite.ptl"]), **{f"extra/{number}": text for number in range(rng.choice([20, 800]))}}
    )


def _tensors(rng: random.Random, files: Originals) -> bytes:
    """A state_dict of one tensor under very many names."""
    count = rng.choice([1000, 90_000])
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00(K\x04t(K\x01t\x89NtRq\x00"
    names = b"".join(b"X\x05\0\0\0%05dh\x00" % number for number in range(count))
    return zip_of({"data.pkl": b"\x80\x02}X\x01\0\0\0w" + tensor + b"s(" + names + b"u.", "data/0": bytes(16)})


def _keys(rng: random.Random, files: Originals) -> bytes:
    """A safetensors header of very many tensors, or of brackets."""
    count = rng.choice([1000, 200_000])
    rows = ",".join(f'"{n}":{{"dtype":"F32","shape":[],"data_offsets":[0,0]}}' for n in range(count))
    header = rng.choice([f"{{{rows}}}".encode(), b'{"a":' * count, b'{"a":' + b"[" * count])
    return struct.pack("<Q", len(header)) + header
