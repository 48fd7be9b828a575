"""A zip archive of torch's: what `torch.jit.save`, the lite interpreter's save and `torch.save` write."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from fxconv.inspection.archive import Archive
from fxconv.inspection.bytecode import Bytecode, read_bytecode
from fxconv.inspection.code import operators_in
from fxconv.inspection.extras import LONGEST_TEXT, extra_file
from fxconv.inspection.found import SCRIPT_CODE, ExtraFile, Inspection, Kind, Part, StoredTensor, Unreadable, with_rest
from fxconv.inspection.inert import Call, Dict, read_pickle
from fxconv.inspection.objects import describe_objects
from fxconv.inspection.tensors import Found, find_tensors

_LONGEST_PICKLE, _LONGEST_WORD, _LONGEST_NAME = 64 << 20, 1000, 80
_MOST_CODE, _MOST_EXTRAS = 32 << 20, 4 << 20
_MOST_NAMED = 5
_OWN_NAMES = ("__torch__.", "torch.", "collections.OrderedDict")
# A pickle, and the folder in which its tensors lie.
_PICKLES = (("data.pkl", "data"), ("constants.pkl", "constants"), ("bytecode.pkl", "bytecode"))
_FOLDERS = tuple(f"{folder}/" for _, folder in _PICKLES)
_READ_BY_NAME = {name for name, _ in _PICKLES}
# C++ classes whose objects a program holds or makes; the namespace says whose they are.
_CLASS = re.compile(rb"__torch__\.torch\.classes\.(\w*)")
_FORMAT = "archive format"
_DEBUG = ("mobile_debug_handles.pkl", "callstack_debug_map.pkl")


def inspect_archive(archive: Archive, bare: Inspection) -> Inspection | None:
    """What an archive of torch's is; None for one of somebody else's. `bare` has the path and the size."""
    names = archive.records.keys()
    odd = next((name for name in names if name not in _READ_BY_NAME and name.lower() in _READ_BY_NAME), None)
    if odd is not None:
        raise Unreadable(f"holds {odd}, which torch takes for {odd.lower()}, and other readers do not; do not use it")
    if "data.pkl" not in names and "bytecode.pkl" not in names:
        return None
    is_script = "constants.pkl" in names
    pickles = {name: read_pickle(archive.read(name, _LONGEST_PICKLE)) for name, _ in _PICKLES if name in names}
    values = {name: pickle.value for name, pickle in pickles.items()}
    tensors, storages = _tensors(archive, values)
    found = replace(
        bare,
        kind=Kind.TORCHSCRIPT,
        facts=tuple(_versions(archive)),
        parts=_parts(archive, _part),
        tensors=tensors,
        storages=storages,
        extras=tuple(_extras(archive)),
        problems=(*bare.problems, *_damage(archive)),
    )
    if is_script or "bytecode.pkl" in values:
        strange = [name for one in pickles.values() for name in one.names if not name.startswith(_OWN_NAMES)]
        problems = (f"names {', '.join(strange[:_MOST_NAMED])}, which no program of torch's does",) if strange else ()
        facts = (*found.facts, *_module(values.get("data.pkl")))
        found = replace(found, facts=facts, problems=(*found.problems, *problems))
    if "bytecode.pkl" in values:
        found = replace(found, classes=_classes(archive))
        return _with_bytecode(found, read_bytecode(values["bytecode.pkl"]))
    if is_script:
        return replace(found, operators=operators_in(code_of(archive)))
    return describe_objects(found, pickles["data.pkl"])


def _extras(archive: Archive) -> Iterator[ExtraFile]:
    """The extra files, with the texts of the first few megabytes of them."""
    left = _MOST_EXTRAS
    for name, record in archive.records.items():
        if name.startswith("extra/"):
            is_read = record.bytes <= min(LONGEST_TEXT, left)
            left -= record.bytes if is_read else 0
            content = archive.read(name, LONGEST_TEXT) if is_read else None
            yield extra_file(name.removeprefix("extra/"), record.bytes, content)


def _classes(archive: Archive) -> tuple[str, ...]:
    """The namespaces of the C++ classes that its pickles name, at once or in two halves, or in a type's text."""
    found: set[str] = set()
    for name in archive.records:
        if name.lower().endswith(".pkl"):
            # a name's two halves stand on a line each, and torch skips spaces in the text of a type
            content = archive.read(name, _LONGEST_PICKLE).replace(b"\n", b".").replace(b" ", b"")
            found.update(namespace.decode() for namespace in _CLASS.findall(content))
    return tuple(sorted(found))


def _with_bytecode(found: Inspection, program: Bytecode) -> Inspection:
    methods = ", ".join(f"{name} ({count:,} instructions)" for name, count in program.methods[:_MOST_NAMED])
    facts = (
        ("methods", methods or "none"),
        ("TorchScript code", "there too, so that the full runtime loads it" if found.has_code else "not there"),
    )
    return replace(
        found,
        kind=Kind.LITE,
        facts=(*found.facts, *facts),
        bytecode_version=program.version,
        operators=program.operators,
    )


def _module(value: Any) -> Iterator[tuple[str, str]]:
    """The class of the module, and whether the passes for mobile ran over it, which leaves a mark."""
    if isinstance(value, Call):
        yield "class", value.path or "without a name"
        if isinstance(value.state, Dict) and value.state.get("mobile_optimized") is True:
            yield "optimized for mobile", "yes"


def _versions(archive: Archive) -> Iterator[tuple[str, str]]:
    # since format 6 the version is no record beside the others
    for name, what in (("version", _FORMAT), (".data/version", _FORMAT), ("byteorder", "byte order")):
        if name in archive.records:
            yield what, archive.read(name, _LONGEST_WORD).decode("utf-8", "replace").strip()


def _tensors(archive: Archive, values: dict[str, Any]) -> tuple[tuple[StoredTensor, ...], tuple[tuple[str, int], ...]]:
    """All tensors by name, and the bytes of their records by type. Raises `Unreadable` where a record is missing."""
    found: dict[str, StoredTensor] = {}
    types: dict[str, str] = {}
    for pickle, folder in _PICKLES:
        for one in find_tensors(values.get(pickle)):
            record = _record_of(archive, folder, one)
            if record is None:
                raise Unreadable(f"lacks {folder}/{one.key}, the values of {one.tensor.name}; copy it again")
            if folder == "data":
                found.setdefault(one.tensor.name, one.tensor)
            elif record not in types:  # the program names constants that were listed already
                name = f"{pickle.removesuffix('.pkl')} {one.tensor.name}"
                found.setdefault(name, replace(one.tensor, name=name))
            types.setdefault(record, one.tensor.dtype)
    sizes: Counter[str] = Counter()
    for record, dtype in types.items():
        sizes[dtype] += archive.records[record].stored
    ordered = sorted(found.values(), key=lambda tensor: -tensor.bytes)
    return tuple(ordered), tuple(sizes.most_common())


def _record_of(archive: Archive, folder: str, found: Found) -> str | None:
    """Where the values of a tensor are; a program of the lite interpreter may keep its own among the constants."""
    places = [f"{folder}/{found.key}", f"constants/{found.key}", f"data/{found.key}"]
    return next((place for place in places if place in archive.records), None)


def folders(archive: Archive) -> tuple[Part, ...]:
    """The parts of an archive whose records have no meaning here: its folders, and files beside them."""
    return _parts(archive, lambda name: name.partition("/")[0][:_LONGEST_NAME])


def _parts(archive: Archive, part_of: Callable[[str], str]) -> tuple[Part, ...]:
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for name, record in archive.records.items():
        part = part_of(name)
        sizes[part] += record.stored
        counts[part] += 1
    parts = [Part(name, size, counts[name]) for name, size in sizes.items()]
    return with_rest(parts, archive.opened.size, "zip headers and alignment")


def _part(name: str) -> str:
    if name == "bytecode.pkl":
        return "bytecode"
    if name.endswith(".debug_pkl") or name in _DEBUG:
        return "debug information"
    if name.startswith(_FOLDERS):
        return "tensors"
    if name.startswith("extra/"):
        return "extra files"
    if name.startswith("code/"):
        return SCRIPT_CODE
    return "structure" if name in ("data.pkl", "constants.pkl") else "other records"


def code_of(archive: Archive) -> Iterator[str]:
    """The texts of its TorchScript code. Raises `Unreadable` where they are longer than any program's."""
    names = [name for name in archive.records if name.startswith("code/") and name.endswith(".py")]
    size = sum(archive.records[name].bytes for name in names)
    if size > _MOST_CODE:
        raise Unreadable(f"has {size:,} bytes of code; fxconv reads up to {_MOST_CODE:,} of them")
    for name in names:
        yield archive.read(name, _MOST_CODE).decode("utf-8", "replace")


def _damage(archive: Archive) -> list[str]:
    damaged = archive.damaged()
    if not damaged:
        return list(archive.problems)
    more = f" and {len(damaged) - 3:,} more" if len(damaged) > 3 else ""
    verb = "does not match its checksum" if len(damaged) == 1 else "do not match their checksums"
    # torch itself looks at no checksum: it loads such a file, and computes with whatever is there
    named = ", ".join(damaged[:3])
    return [*archive.problems, f"damaged: {named}{more} {verb}; torch loads it all the same, copy it again"]
