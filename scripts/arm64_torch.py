"""Unpacks torch and ExecuTorch for arm64 so that they run on an emulated processor, without CUDA.

    python arm64_torch.py WHEELS FOLDER SYSROOT PYTHON

The package index has the torches that ExecuTorch needs for arm64 with CUDA alone, whose libraries are gigabytes, and on
a processor none of their functions does anything. So torch's own part of it is left out, and for each library that is
needed when torch starts, and is neither among the wheels nor in SYSROOT, one is written that has its name and the
symbols that are asked of it. A function of them returns 100, which is CUDA's word for "no device", or, of C++, the
address of zeros. A torch without CUDA is unpacked as it is. Of ExecuTorch only the runtime is taken: what writes
programs needs far more. PYTHON is the program that will run it, whose symbols count as there.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# Of torch: headers, tools, tests, and what only CUDA's kernels need; torch looks for one tool when it starts.
_LEFT_OUT = ("torch/include/", "torch/bin/", "torch/test/", "torch/share/")
_OF_CUDA = ("libtorch_cuda", "libtorch_nvshmem", "libcaffe2_nvrtc")
_TOOL = "torch/bin/torch_shm_manager"
# Of ExecuTorch: the runtime, and the one file of the package beside it that the runtime imports.
_RUNTIME = ("runtime/", "extension/pybindings/", "lib/", "exir/_warnings.py", "version.py")

PAGE, ZEROS, HEADER, PROGRAM_HEADER = 0x10000, 0x1000, 64, 56
(HASH, STRINGS, SYMBOLS, RELA, RELA_SIZE, RELA_ENTRY, STRINGS_SIZE, SYMBOL_ENTRY, NAME) = (4, 5, 6, 7, 8, 9, 10, 11, 14)
(VERSYM, VERDEF, VERDEF_COUNT) = (0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD)
_SYMBOL, _RELOCATION, _PROGRAM = "<IBBHQQ", "<QQQ", "<IIQQQQQQ"
(_FUNCTION, _OBJECT) = (0x12, 0x11)


class Processor(NamedTuple):
    """What of a library depends on the processor: its number, that of a relative relocation, and two functions.

    `no_device` returns 100, `address` gives a function that returns an address so far from its own; 8 bytes each.
    """

    number: int
    relative: int
    no_device: bytes
    address: Callable[[int], bytes]


ARM64 = Processor(
    183,
    0x403,
    struct.pack("<II", 0x52800C80, 0xD65F03C0),  # mov w0, #100; ret
    lambda away: struct.pack("<II", 0x10000000 | (away & 3) << 29 | (away >> 2) << 5, 0xD65F03C0),  # adr x0, away; ret
)


class Library:
    """What the loader sees of a shared library: what it needs, the names that it defines, and those it asks for.

    `asked` has, of each name, the library it must come from and the version it must have there, both "" where any
    will do.
    """

    def __init__(self, data: bytes) -> None:
        at, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, at + 64 * place) for place in range(count)]
        self._parts = {header[1]: data[header[4] : header[4] + header[5]] for header in headers if header[1] != 8}
        dynamic = next(header for header in headers if header[1] == 6)
        start, size = headers[dynamic[6]][4:6]
        self._strings = data[start : start + size]
        pairs = struct.iter_unpack("<QQ", self._parts[6])
        self.needed = [self._text(value) for tag, value in pairs if tag == 1]
        versions = dict(self._versions())
        numbers = [number for (number,) in struct.iter_unpack("<H", self._parts.get(0x6FFFFFFF, b""))]
        self.defined: set[str] = set()
        self.asked: dict[str, tuple[str, str]] = {}
        for place, (name, info, _, section, _, _) in enumerate(struct.iter_unpack(_SYMBOL, self._parts[11])):
            if section:
                self.defined.add(self._text(name))
            elif info >> 4 == 1:  # global; of a weak one nothing need be there
                number = numbers[place] & 0x7FFF if numbers else 1
                self.asked[self._text(name)] = versions.get(number, ("", ""))

    def _versions(self) -> Iterator[tuple[int, tuple[str, str]]]:
        """The numbers of the versions that it needs, with library and name."""
        need, place = self._parts.get(0x6FFFFFFE, b""), 0
        while need:
            _, count, file, first, following = struct.unpack_from("<HHIII", need, place)
            at = place + first
            for _ in range(count):
                _, _, number, name, step = struct.unpack_from("<IHHII", need, at)
                yield number, (self._text(file), self._text(name))
                at += step
            if not following:
                break
            place += following

    def _text(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()


def name_hash(name: str) -> int:
    """The hash of ELF's tables of symbols and versions."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        value = (value ^ (value & 0xF0000000) >> 24) & 0x0FFFFFFF
    return value


def empty_library(name: str, symbols: dict[str, str], processor: Processor = ARM64) -> bytes:
    """A library of this name with these symbols, each of the version beside it, "" for none.

    Types of C++ (`_ZTI`) have their names, by which torch's bindings tell them apart; its tables are zeros.
    """
    strings = bytearray(b"\0")

    def put(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text.encode()) - 1

    versions = [name, *sorted({version for version in symbols.values() if version})]
    words, at = [put(version) for version in versions], {symbol: put(symbol) for symbol in symbols}
    types = [symbol for symbol in symbols if symbol.startswith("_ZTI")]
    parts = {
        HASH: _hash_table(list(symbols)),
        SYMBOLS: bytes(24 * (len(symbols) + 1)),
        VERSYM: struct.pack(
            f"<{len(symbols) + 1}H", 0, *(versions.index(one, 1) + 1 if one else 1 for one in symbols.values())
        ),
        VERDEF: _version_table(versions, words),
        RELA: bytes(24 * len(types)),
        STRINGS: bytes(strings),
    }
    code = HEADER + 3 * PROGRAM_HEADER
    places, end = {}, code + 16
    for tag, content in parts.items():
        places[tag] = end
        end += len(content) + -len(content) % 8
    start = end + -end % PAGE  # the loader writes to the second half, and the symbols' zeros lie there
    dynamic = b"".join(
        struct.pack("<QQ", *pair)
        for pair in (
            (NAME, words[0]),
            *places.items(),
            (STRINGS_SIZE, len(strings)),
            (SYMBOL_ENTRY, 24),
            (RELA_SIZE, len(parts[RELA])),
            (RELA_ENTRY, 24),
            (VERDEF_COUNT, len(versions)),
            (0, 0),
        )
    )
    zeros = start + len(dynamic)
    infos = {symbol: zeros + ZEROS + 16 * place for place, symbol in enumerate(types)}
    parts[RELA] = b"".join(
        struct.pack(_RELOCATION, infos[one] + 8, processor.relative, places[STRINGS] + at[one] + 4) for one in types
    )

    def symbol(one: str) -> bytes:
        if one.startswith("_ZT"):
            return struct.pack(_SYMBOL, at[one], _OBJECT, 0, 1, infos.get(one, zeros), 16)
        return struct.pack(_SYMBOL, at[one], _FUNCTION, 0, 1, code + 8 if one.startswith("_Z") else code, 8)

    parts[SYMBOLS] = bytes(24) + b"".join(map(symbol, symbols))
    file = b"\x7fELF\x02\x01\x01" + bytes(9)
    file += struct.pack("<HHIQQQIHHHHHH", 3, processor.number, 1, 0, HEADER, 0, 0, HEADER, PROGRAM_HEADER, 3, 64, 0, 0)
    in_memory = len(dynamic) + ZEROS + 16 * len(types)
    for kind, flags, offset, size, memory, aligned in (
        (1, 5, 0, end, end, PAGE),
        (1, 6, start, len(dynamic), in_memory, PAGE),
        (2, 6, start, len(dynamic), len(dynamic), 8),
    ):
        file += struct.pack(_PROGRAM, kind, flags, offset, offset, offset, size, memory, aligned)
    file += processor.no_device + processor.address(zeros - code - 8)
    for content in parts.values():
        file += content + bytes(-len(content) % 8)
    return file.ljust(start, b"\0") + dynamic


def _hash_table(symbols: list[str]) -> bytes:
    buckets, chains = [0] * max(1, len(symbols)), [0] * (len(symbols) + 1)
    for place, symbol in enumerate(symbols, 1):
        first = name_hash(symbol) % len(buckets)
        chains[place], buckets[first] = buckets[first], place
    return struct.pack(f"<{2 + len(buckets) + len(chains)}I", len(buckets), len(chains), *buckets, *chains)


def _version_table(versions: list[str], words: list[int]) -> bytes:
    """The versions, whose names lie at `words`. The first is that of the library itself."""
    return b"".join(
        struct.pack("<HHHHIII", 1, place == 1, place, 1, name_hash(version), 20, 28 * (place < len(versions)))
        + struct.pack("<II", words[place - 1], 0)
        for place, version in enumerate(versions, 1)
    )


def what_lacks(folder: Path, sysroot: Path, python: Path) -> dict[str, dict[str, str]]:
    """The libraries that those in a folder need and that are nowhere, each with the symbols asked of it."""
    here = {path.name: Library(path.read_bytes()) for path in sorted(folder.glob("*.so*"))}
    there = {path.name: path for part in ("lib", "usr/lib") for path in (sysroot / part).glob("**/*.so*")}
    needed = {name for library in here.values() for name in library.needed} - set(here)
    symbols: dict[str, dict[str, str]] = {name: {} for name in sorted(needed - set(there))}
    if not symbols:
        return {}
    others = [Library(path.read_bytes()) for path in (python, *(there[name] for name in needed & set(there)))]
    defined = set().union(*(library.defined for library in (*here.values(), *others)))
    torchs = symbols.get("libtorch_cuda.so", next(iter(symbols.values())))
    for library in here.values():
        for name, (file, version) in library.asked.items():
            if file in symbols:
                symbols[file][name] = version
            elif not file and name not in defined:
                torchs[name] = ""
    return symbols


def unpack(wheels: Path, folder: Path) -> None:
    """What is needed of the wheels in a folder."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if _is_needed(name)])


def _is_needed(name: str) -> bool:
    if name.startswith("executorch/"):
        return name.startswith(tuple(f"executorch/{part}" for part in _RUNTIME))
    if name.startswith("torch/lib/"):
        return not name[len("torch/lib/") :].startswith(_OF_CUDA)
    return name == _TOOL or not name.startswith(_LEFT_OUT)


def without_cuda(torch: Path) -> None:
    """Take out of torch's Python what asks for CUDA's kernels when it is imported."""
    native, distributed = torch / "_native" / "__init__.py", torch / "distributed" / "__init__.py"
    if native.exists():  # kernels written in Python, for CUDA
        native.write_text("")
    # It makes a default value for NCCL's; without its start torch takes itself for one that has none.
    before = "import torch\nfor _start in ('_c10d_init', '_rpc_init', '_dist_autograd_init', '_faulty_agent_init'):\n"
    before += "    hasattr(torch._C, _start) and delattr(torch._C, _start)\n"
    distributed.write_text(before + distributed.read_text())


def main(wheels: Path, folder: Path, sysroot: Path, python: Path) -> None:
    """The program."""
    unpack(wheels, folder)
    libraries = folder / "torch" / "lib"
    lacking = what_lacks(libraries, sysroot, python)
    for name, symbols in lacking.items():
        (libraries / name).write_bytes(empty_library(name, symbols))
    if lacking:
        without_cuda(folder / "torch")
    (folder / _TOOL).chmod(0o755)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
