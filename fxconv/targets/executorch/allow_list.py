"""Which programs of anybody's may be run: those that compute with known kernels, and hold what they say they hold.

A .pte has no code of its own. But the kernels and XNNPACK are native code, and take what the file says for true: where
a tensor lies, how many weights there are, which value comes next. So all of it is read first, without ExecuTorch, and
what is not sound is refused. What is left runs in a process of its own, with limits on time, memory and files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fxconv.errors import UserError
from fxconv.inspection import Inspection, Kind, inspect
from fxconv.inspection.delegates import XNNPACK
from fxconv.inspection.executorch_program import read_program
from fxconv.inspection.executorch_values import DELEGATE, Delegated, Method, ProgramFile
from fxconv.inspection.found import Unreadable
from fxconv.inspection.printable import printable
from fxconv.inspection.what import ARTIFACTS, what_is
from fxconv.inspection.xnnpack_graph import read_xnnpack
from fxconv.targets.executorch import sound_graph, sound_method

MEGABYTES = 4096
_LONGEST = 300


def inspected(path: Path, megabytes: int | None = None) -> Inspection:
    """What a file is, before ExecuTorch reads it.

    Raises `UserError`, in one line, for what `fxconv inspect` refuses, for what is no program of ExecuTorch's, and for
    one that must not be run: `megabytes` is what its tensors may take, 4096 where that is None.
    """
    found = inspect(path)
    if found.kind is not Kind.EXECUTORCH:
        where = f"; fxconv inspect {path} says what is in it" if found.kind in ARTIFACTS else ""
        raise UserError(f"{path}: is no ExecuTorch program ({what_is(path)}); give a .pte{where}")
    try:
        words = next(
            refused(read_program(memoryview(path.read_bytes())), (MEGABYTES if megabytes is None else megabytes) << 20),
            None,
        )
    except (Unreadable, OSError) as error:
        raise UserError(f"{path}: {printable(str(error), _LONGEST)}") from error
    if words is not None:
        raise UserError(
            f"{path}: not run, because {printable(words, _LONGEST)}; only what is known to compute is run here"
        )
    return found


def of_bytes(content: bytes) -> str | None:
    """What keeps a program from being run, in words that follow `the program`; None where nothing does."""
    words = next(refused(read_program(memoryview(content))), None)
    return None if words is None else f"is none that fxconv would run: {words}"


def refused(program: ProgramFile, most: int = MEGABYTES << 20) -> Iterator[str]:
    """What keeps a program from being run, each in words. Raises `Unreadable` for delegates that cannot be read."""
    if program.version != 0:
        yield f"it is of schema version {program.version}, which is not known here"
    if len({method.name for method in program.methods}) != len(program.methods) or not program.methods:
        yield "it has no methods, or two of one name"
    for method in program.methods:
        yield from (f"its method {method.name} {words}" for words in sound_method.faults(method, most))
        for number, one in enumerate(method.delegates):
            if one.backend != XNNPACK:
                yield f"it hands work to {one.backend}, of which nobody here has looked what it does; {XNNPACK} is"
                continue
            where = f"its delegate {number} of method {method.name}"
            yield from (f"{where} {words}" for words in _graph_faults(program, method, number, one, most))


def _graph_faults(program: ProgramFile, method: Method, number: int, found: Delegated, most: int) -> Iterator[str]:
    graph = read_xnnpack(found.blob, program.named, program.budget)
    if found.segment is None:
        yield "is not in a segment of its own"
    calls = {one.arguments for one in method.instructions if one.kind == DELEGATE and one.target == number}
    yield from sound_graph.faults(graph, most)
    for arguments in calls:
        yield from sound_graph.call_faults(graph, tuple(method.values[one] for one in arguments))
