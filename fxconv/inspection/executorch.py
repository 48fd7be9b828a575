"""ExecuTorch programs (.pte): methods, what is handed to backends, what is outside, and what loads them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fxconv.inspection.delegates import delegates_of, work_of
from fxconv.inspection.executorch_program import MARK, read_program
from fxconv.inspection.executorch_values import (
    KERNEL,
    STATIC,
    Listed,
    Method,
    ProgramFile,
    TensorValue,
    Text,
    Value,
)
from fxconv.inspection.extras import LONGEST_TEXT, extra_file
from fxconv.inspection.found import Delegate, ExtraFile, Inspection, Kind, Operator, Part, StoredTensor, with_rest
from fxconv.inspection.xnnpack_schema import RELEASES

__all__ = ["MARK", "TEXTS", "inspect_executorch"]

# The names under which other kinds of artifacts keep what fxconv writes as constant methods.
TEXTS = {"fxconv_metadata": "fxconv.json", "fxconv_golden": "golden.json"}
_NEWEST_SCHEMA = 0
_MOST_NAMED, _MOST_METHODS = 12, 20


def inspect_executorch(data: memoryview, bare: Inspection) -> Inspection:
    """What the program says of itself. Raises `Unreadable` when it points beyond its end."""
    program = read_program(data)
    delegates = delegates_of(program)
    operators = _operators(program)
    problems = [f"delegate {number} ({one.backend}): {one.problem}" for number, one in enumerate(delegates)]
    return replace(
        bare,
        kind=Kind.EXECUTORCH,
        facts=tuple(_facts(program, delegates, operators)),
        parts=_parts(program, len(data)),
        tensors=_tensors(program),
        storages=_storages(program),
        operators=operators,
        delegates=delegates,
        extras=tuple(_extra(name, content) for name, content in program.texts.items()),
        problems=tuple(words for words, one in zip(problems, delegates, strict=True) if one.problem),
    )


def _operators(program: ProgramFile) -> tuple[Operator, ...]:
    """The kernels outside of all delegates, with the number of calls."""
    calls: Counter[tuple[str, str]] = Counter()
    for method in program.methods:
        calls.update(dict.fromkeys(method.operators, 0))
        calls.update(method.operators[one.target] for one in method.instructions if one.kind == KERNEL)
    return tuple(Operator(*row, calls=calls[row]) for row in sorted(calls))


def _facts(
    program: ProgramFile, delegates: tuple[Delegate, ...], operators: tuple[Operator, ...]
) -> list[tuple[str, str]]:
    computing = [one for one in program.methods if not one.constant]
    facts = [("schema version", str(program.version)), ("ExecuTorch", _loads_in(program, delegates))]
    facts += [("methods", _named([one.name for one in program.methods]))]
    facts += [(f"method {one.name}", _signature(one)) for one in computing[:_MOST_METHODS]]
    constants = [f"{one.name}: {_returned(one)}" for one in program.methods if one.constant and one.text is None]
    facts += [("constants", _named(constants))] if constants else []
    backends = Counter(one.backend for one in delegates)
    facts += [("delegates", _named([f"{name} ({count})" for name, count in backends.items()]))] if backends else []
    outside = [f"{one.full_name} ({one.calls})" for one in operators if one.calls]
    if delegates:
        facts.append(("outside the delegates", _named(outside)))
    work = work_of(program, delegates)
    if work.share is not None and all(one.operators for one in delegates):
        facts.append(("int8 multiply-accumulates", f"{work.integers:,} of {work.all:,} ({100 * work.share:.1f} %)"))
    arenas = sum(sum(one.arenas[1:]) for one in program.methods)
    return [*facts, ("memory planned", f"{arenas:,} bytes, and what the delegates take")]


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return (", ".join(names[:_MOST_NAMED]) or "none") + more


def _loads_in(program: ProgramFile, delegates: tuple[Delegate, ...]) -> str:
    """The releases of ExecuTorch whose schemas have all that the file uses."""
    if program.version > _NEWEST_SCHEMA:
        return f"a release newer than {RELEASES[-1]}: it knows schema versions up to {_NEWEST_SCHEMA}"
    rows = [row for one in delegates for row in one.operators]
    new = [row.name for row in rows if row.name.startswith("unknown")]
    new += [kind for row in rows for kind in row.dtype.split(" to ") if kind.startswith("unknown (")]
    if new:
        return f"a release newer than {RELEASES[-1]}, whose schema lacks {_named(sorted(set(new)))} of XNNPACK"
    return f"{', '.join(RELEASES[:-1])} and {RELEASES[-1]} know all of it, built with its kernels and backends"


def _signature(method: Method) -> str:
    taken = ", ".join(_words(method.values[number]) for number in method.inputs[:_MOST_NAMED])
    return f"takes {taken or 'nothing'}; returns {_returned(method)}"


def _returned(method: Method) -> str:
    return ", ".join(_words(method.values[number]) for number in method.outputs[:_MOST_NAMED]) or "nothing"


def _words(value: Value) -> str:
    """A value in a few words: the type and shape of a tensor, the number that another is."""
    if isinstance(value, TensorValue):
        shape = "x".join(map(str, value.sizes)) or "one value"
        return f"{value.dtype} {'' if value.dynamism == STATIC else 'at most '}{shape}"
    if isinstance(value, Text):
        return f"a text of {len(value.content):,} bytes"
    if isinstance(value, Listed):
        return f"a list of {len(value.items):,}"
    return str(value) if value is None or isinstance(value, (bool, int, float)) else "something unknown"


def _parts(program: ProgramFile, size: int) -> tuple[Part, ...]:
    """The segments by what they are for, each once, and the program itself."""
    kinds: dict[int, str] = dict.fromkeys(range(len(program.segments)), "other segments")
    kinds |= dict.fromkeys(program.named_segments.values(), "weights of delegates")
    if program.constants is not None:
        kinds[program.constants] = "tensors outside delegates"
    kinds |= {
        one.segment: "delegates" for method in program.methods for one in method.delegates if one.segment is not None
    }
    sizes: Counter[str] = Counter()
    records: Counter[str] = Counter()
    for number, segment in enumerate(program.segments):
        sizes[kinds[number]] += len(segment)
        records[kinds[number]] += 1
    inline = min(program.inline_bytes, program.program_bytes)
    parts = [Part(name, count, records[name]) for name, count in sizes.items()]
    parts += [Part("weights and delegates in the program", inline), Part("program", program.program_bytes - inline)]
    return with_rest(parts, size, "alignment")


def _tensors(program: ProgramFile) -> tuple[StoredTensor, ...]:
    """The constant tensors outside delegates, each once, by the number that the file gives them."""
    found = {}
    for method in program.methods:
        for value in method.values:
            if isinstance(value, TensorValue) and value.content is not None:
                name = value.name or f"constant {value.buffer}"
                found[value.buffer, value.sizes] = StoredTensor(name, value.dtype, value.sizes, value.bytes)
    return tuple(sorted(found.values(), key=lambda tensor: -tensor.bytes))


def _storages(program: ProgramFile) -> tuple[tuple[str, int], ...]:
    sizes: Counter[str] = Counter()
    for tensor in _tensors(program):
        sizes[tensor.dtype] += tensor.bytes
    return tuple(sizes.most_common())


def _extra(method: str, content: memoryview) -> ExtraFile:
    return extra_file(TEXTS.get(method, method), len(content), bytes(content[:LONGEST_TEXT]))
