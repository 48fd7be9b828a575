"""Archives made to harm whoever unpacks them, or shows what is in them."""

from __future__ import annotations

import random
import struct

from benchmarks.hostile.archives import (
    overlapping,
    records_of,
    two_counts,
    two_directories,
    two_long_directories,
    zip_of,
)
from benchmarks.hostile.kinds import Originals, any_zip, kind
from benchmarks.hostile.pickles import MARK
from benchmarks.hostile.programs import BODIES, WHEN, program


@kind("names that lead out, twice, or with escape sequences")
def names(rng: random.Random, files: Originals) -> bytes:
    records = list(records_of(any_zip(rng, files)).items())
    bad = rng.choice(
        [
            f"../../{MARK}",
            f"/tmp/{MARK}",
            f"..\\{MARK}",
            f"C:\\{MARK}",
            f"C:{MARK}",
            f"extra/../../{MARK}",
            "nul\x00.py",
            "extra/\x1b[2J\x1b]0;title\x07",
            "extra/\u202etxt.exe",
            "n" * 60000,
            "data.pkl",
            "extra/a\nb\r",
            "x/" * 5000,
        ]
    )
    records.insert(rng.randrange(len(records)), (bad, b"x"))
    return zip_of(records, root=rng.choice(["archive/", ""]))


@kind("one archive for Python, another for torch")
def two(rng: random.Random, files: Originals) -> bytes:
    shown, hidden = records_of(files["lite.ptl"]), records_of(program(rng.choice(BODIES), rng.choice(WHEN)))
    names = sorted(shown.keys() | hidden.keys())
    hide = rng.choice([two_directories, two_long_directories, two_counts])
    return hide({name: shown.get(name, b"") for name in names}, {name: hidden.get(name, b"") for name in names})


@kind("sizes that lie")
def sizes(rng: random.Random, files: Originals) -> bytes:
    data = bytearray(any_zip(rng, files))
    places = [place for place in range(len(data)) if data[place : place + 4] == b"PK\x01\x02"]
    for place in rng.sample(places, min(len(places), rng.choice([1, 3]))):
        lie = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, len(data), rng.randrange(1 << 32)])
        struct.pack_into("<I", data, place + rng.choice([20, 24, 42]), lie)
        if rng.random() < 0.3:
            struct.pack_into("<H", data, place + rng.choice([8, 10, 28, 30, 32]), rng.randrange(1 << 16))
    return bytes(data)


@kind("zip bombs")
def bombs(rng: random.Random, files: Originals) -> bytes:
    records = records_of(any_zip(rng, files))
    name = rng.choice(["data.pkl", "bytecode.pkl", "constants.pkl", "code/__torch__.py", "extra/a.json", "version"])
    how = rng.randrange(3)
    if how == 0:  # one record of many megabytes, deflated to a thousandth
        return zip_of({**records, name: bytes(rng.choice([10, 80, 300]) << 20)}, squeezed=True)
    if how == 1:  # the same, with a size that says otherwise
        data = bytearray(zip_of({**records, name: bytes(20 << 20)}, squeezed=True))
        place = data.rindex(b"PK\x01\x02")
        for place in [p for p in range(len(data)) if data[p : p + 4] == b"PK\x01\x02"]:
            struct.pack_into("<I", data, place + 24, rng.choice([100, 5000]))
        return bytes(data)
    return overlapping(name, rng.choice([100, 2000]))


@kind("records without end")
def many(rng: random.Random, files: Originals) -> bytes:
    count = rng.choice([30_000, 100_001, 150_000])
    if rng.random() < 0.4:  # only the last header says so
        data = bytearray(any_zip(rng, files))
        end = data.rindex(b"PK\x05\x06")
        struct.pack_into("<2H2L", data, end + 8, 0xFFFE, 0xFFFE, rng.randrange(1 << 32), rng.randrange(1 << 32))
        return bytes(data)
    return zip_of([(f"data/{number}", b"") for number in range(count)])


@kind("extra files that speak to the terminal")
def terminal(rng: random.Random, files: Originals) -> bytes:
    records = records_of(files[rng.choice(["lite.ptl", "full.pt", "optimized.ptl"])])
    records["extra/" + rng.choice(["a", "fxconv.json", "\x1b[31mred", "[bold]b[/]", "\x9b2J"])] = rng.choice(
        [
            b"\x1b[2J\x1b[1;1H\x1b]0;owned\x07 hello",
            '{"\u001b[2J": "\u202e\u0007", "a": [1, 2, 3]}'.encode(),
            b'{"a": "\\u001b[2J\\ud800"}',
            b"[" * 100_000,
            b'{"a":' * 5000,
            b'{"a": ' + b"9" * 6000 + b"}",
            b"\xff\xfe\x00binary",
            b"\n" * 50_000,
            b"x" * 250_000,
            b"\x9b31m\x90\x85",
            "[link=file:///etc/passwd]click[/link] \u2066\u2069".encode(),
            b"\r\x08\x08\x0b\x0c\x7f",
            b'{"a": ' + b"[" * (deep := rng.randrange(850, 1000)) + b"]" * deep + b"}",
        ]
    )
    return zip_of(records)
