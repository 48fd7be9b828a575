"""A lite-interpreter archive in an older version of bytecode: as torch writes it, and then put in order.

torch's own backport loads the program and writes it anew. It names each tensor's record by the address it lay at, so
that no two runs give the same bytes, and writes the weights twice: for the bytecode and for the TorchScript code,
which shared them before. Here the records are numbered, and shared again.

And it keeps the lines of source behind each operator as torch writes them since 1.11, on which 1.10 stops: "Expected
Tuple but got String" (measured with torch 1.10.0). They are a help to those who read errors, and are left out.
"""

from __future__ import annotations

import hashlib
import io
import pickletools
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping

from torch.jit.mobile import _backport_for_mobile_to_buffer, _get_model_bytecode_version

from fxconv.errors import ConversionError, message_line
from fxconv.targets.mobile.archive_records import Records, archive
from fxconv.targets.mobile.releases.operators import torch_of
from fxconv.targets.mobile.releases.table import Release
from fxconv.targets.mobile.source_lines import LINES

# The oldest version that torch's backport writes.
OLDEST = 4
_EXTRA = "extra/"
_PICKLES = ("constants.pkl", "bytecode.pkl", "data.pkl")


def backported(content: bytes, wanted: Release) -> bytes:
    """The archive in the newest version of bytecode that `wanted` reads; `content` itself where it reads that.

    It computes the same, and its extra files are the same. The archive must be one of fxconv's own: torch may crash on
    a damaged one. Raises `ConversionError` where torch cannot write that version.
    """
    newest = torch_of(wanted.torch).bytecode[1]
    if not can_be_backported(int(_get_model_bytecode_version(io.BytesIO(content))), wanted):
        return content
    try:
        written = _backport_for_mobile_to_buffer(io.BytesIO(content), newest)
    except RuntimeError as error:
        raise ConversionError(
            f"torch cannot write bytecode {newest} for {wanted.name}: {message_line(error)}"
        ) from error
    older, ours = Records(written), Records(content)
    ordered = _in_order({name: older[name] for name in older if not name.endswith(LINES)})
    extras = [(name, ours[name]) for name in ours if name.startswith(_EXTRA)]
    program = [(name, one) for name, one in ordered.items() if not name.startswith(_EXTRA)]
    return archive([*extras, *program], older.version)


def can_be_backported(version: int, wanted: Release) -> bool:
    """Whether a file of this version of bytecode is too new for a release, and torch may write one that is not."""
    newest = torch_of(wanted.torch).bytecode[1]
    return OLDEST <= newest < version


def _in_order(records: Mapping[str, bytes]) -> dict[str, bytes]:
    """The records with tensors of equal values, one for the code and one for the bytecode, under one number."""
    names: dict[str, str] = {}  # of a record in the folder of constants, as it was: as it will be
    by_values: defaultdict[bytes, list[str]] = defaultdict(list)
    for pickle in _PICKLES:
        free = {values: list(shared) for values, shared in by_values.items()}
        for key in _keys(records.get(pickle, b"")):
            if (values := records.get(f"constants/{key}")) is None or key in names:
                continue
            digest = hashlib.sha256(values).digest()
            if free.get(digest):  # what another pickle has, once each: two tensors of one pickle stay two
                names[key] = free[digest].pop(0)
            else:
                names[key] = f"{len(set(names.values()))}.storage"
                by_values[digest].append(names[key])
    ordered: dict[str, bytes] = {}
    for name, content in records.items():
        folder, _, key = name.partition("/")
        if name in _PICKLES:
            ordered[name] = _renamed(content, names)
        elif folder == "constants" and key in names:
            continue
        else:
            ordered[name] = content
    numbered = {names[key]: records[f"constants/{key}"] for key in names}
    for name in sorted(numbered, key=lambda name: int(name.partition(".")[0])):
        ordered[f"constants/{name}"] = numbered[name]
    return ordered


def _keys(pickle: bytes) -> Iterator[str]:
    """The texts of a pickle that may be names of records, in order."""
    if pickle:
        yield from (str(argument) for code, argument, _ in pickletools.genops(pickle) if code.name == "BINUNICODE")


def _renamed(pickle: bytes, names: Mapping[str, str]) -> bytes:
    """The pickle with other texts for these. Nothing in one of protocol 2 says where anything else stands."""
    parts, copied = [], 0
    for code, argument, place in pickletools.genops(pickle):
        if code.name == "BINUNICODE" and (old := str(argument)) in names and place is not None:
            new = names[old].encode()
            parts += [pickle[copied:place], b"X", struct.pack("<I", len(new)), new]
            copied = place + 5 + len(old.encode())
    return b"".join([*parts, pickle[copied:]])
