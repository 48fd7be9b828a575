"""The lines of source behind each operator, in an archive of torch's: read, and rid of the machine they were on.

Beside each text of TorchScript code, `code/NAME.py`, lies a record `code/NAME.py.debug_pkl`. It says of which lines of
Python each piece of that text was made: their text, the path of their file, and where in it they stood. As torch writes
it, an artifact tells whose folders it was made in, and changes with a blank line in a file that computes nothing.

fxconv keeps the lines of graphs alone: torch.fx wrote those, from the names of the model's layers and nothing else, and
`bench --ops` finds the layer of each operator by them. The others are taken out of a program before it is optimized,
between writing and reading it back, when its weights take no room; what comes of that torch writes as ever.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fxconv.targets.mobile.archive_records import Records, archive

LINES = ".debug_pkl"
# The files that torch.fx says its code is in: it counts them, and may say of which file they stem.
_GRAPHS = ("<graph>", "<eval_with_key>")
_FORMAT = "FORMAT_WITH_STRING_TABLE"


@dataclass(frozen=True)
class Place:
    """From the character `offset` of a text on: made of the characters `start` to `end` of a graph's lines.

    `lines` are those of the whole graph by their numbers in the record's table, empty for what was made of no graph;
    `first` is the number its first line has in its file.
    """

    offset: int
    lines: tuple[int, ...] = ()
    first: int = 0
    start: int = 0
    end: int = 0


class _Plain(pickle.Unpickler):
    """Reads tuples, lists, texts and numbers; nothing is imported or called but for lists."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return list
        raise pickle.UnpicklingError(f"{module}.{name}")


def read(pickled: bytes) -> tuple[tuple[str, ...], list[Place]]:
    """The lines in a record, and what was made of which graph, by offset.

    Raises whatever a record raises that is damaged or of another format.
    """
    _, texts, ranges = _Plain(io.BytesIO(pickled)).load()
    places = []
    for offset, ((lines, file, first), start, end), *_ in ranges:
        # a trace has the whole stack of calls for lines, and the innermost is in a graph
        is_graph = str(texts[file]).startswith(_GRAPHS) and texts[lines[0]].startswith("def ")
        places.append(Place(offset, tuple(lines), first, start, end) if is_graph else Place(offset))
    return texts, places


def without_source_lines(content: bytes) -> bytes:
    """The archive with nothing of the machine it was written on: the lines of graphs stay, in no file.

    It computes the same, and names the same layers. What the lite interpreter says of an error does not change, for it
    reads no lines; with torch.jit.load an error still tells the line of TorchScript code, and that of the graph.
    """
    found = Records(content)
    return archive(_cleaned(found), found.version)


def _cleaned(records: Records) -> Iterator[tuple[str, bytes]]:
    for name in records:
        yield name, _graphs_alone(records[name]) if name.endswith(LINES) else records[name]


class _Numbers:
    """A list of numbers as torch pickles it."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self.numbers = numbers

    def __reduce__(self) -> tuple[Any, ...]:
        from torch.jit._pickle import build_intlist  # here: lines are read without torch

        return build_intlist, (list(self.numbers),)


def _graphs_alone(pickled: bytes) -> bytes:
    """The record with the lines of graphs alone; without a record torch would take the text's own lines for source.

    What is said twice is one object, which pickle writes once.
    """
    texts, places = read(pickled)
    table: dict[str, int] = {"": 0, _GRAPHS[0]: 1}
    sources: dict[tuple[str, ...], Any] = {}
    spans: dict[tuple[Any, ...], tuple[int, Any]] = {}
    ranges: list[tuple[int, Any, int]] = []
    for place in places:
        lines = tuple(texts[line] for line in place.lines)
        if lines not in sources:
            numbers = tuple(table.setdefault(line, len(table)) for line in lines)
            sources[lines] = (_Numbers(numbers), 1 if lines else 0, place.first)
        key = (lines, place.start, place.end)
        number, span = spans.setdefault(key, (len(spans), (sources[lines], place.start, place.end)))
        if not ranges or ranges[-1][1] is not span:
            ranges.append((place.offset, span, number))
    return pickle.dumps((_FORMAT, tuple(table), tuple(ranges)), protocol=2)
