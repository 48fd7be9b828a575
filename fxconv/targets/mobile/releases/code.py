"""The calls in a file's TorchScript code, by its text: which operators, and with how many arguments.

The full library compiles that code when it loads a file, against the operators that it has. Which overload is meant it
decides by types; the text has names and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fxconv.inspection.archive import read_archive
from fxconv.inspection.opened import opened
from fxconv.inspection.torch_archive import code_of

# A call's beginning, brackets, commas, quotes and line ends, escaped signs: no pattern of whole texts or calls.
_TOKENS = re.compile(r"""(?<![.\w])(?:torch|ops\.(\w{1,80}))\.(\w{1,80})\(|[()\[\]{},"'\n]|\\.""")
_DEEPEST = 1000


def calls_in(path: Path) -> dict[str, set[int]]:
    """The numbers of arguments that the code of the archive at `path` gives each operator.

    Raises `Unreadable` for a file that `fxconv.inspection` would refuse too.
    """
    with opened(path) as file:
        return counted(code_of(read_archive(file)))


def counted(texts: Iterable[str]) -> dict[str, set[int]]:
    """The numbers of arguments by operator, of all calls of `torch.NAME` and `ops.NAMESPACE.NAME`."""
    found: dict[str, set[int]] = {}
    for text in texts:
        for name, arguments in _calls(text):
            found.setdefault(name, set()).add(arguments)
    return found


def _calls(text: str) -> Iterator[tuple[str, int]]:
    quote = ""
    names: list[str] = []  # of the brackets that are open, "" for one that is no operator's
    commas: list[int] = []
    since: list[int] = []  # where the last argument of each begins
    for match in _TOKENS.finditer(text):
        token = match[0]
        if quote:  # what it began with ends a text, and so does its line
            quote = "" if token in (quote, "\n") else quote
        elif match[2] or token in "([{":
            if len(names) == _DEEPEST:
                return  # no code that is printed by torch
            names.append(f"{match[1] or 'aten'}::{match[2]}" if match[2] else "")
            commas.append(0)
            since.append(match.end())
        elif token in "\"'":
            quote = token
        elif token == "," and names:
            commas[-1] += 1
            since[-1] = match.end()
        elif token in ")]}" and names:
            name, count, begin = names.pop(), commas.pop(), since.pop()
            if name:  # a comma before the bracket ends no further argument
                yield name, count + bool(text[begin : match.start()].strip())
