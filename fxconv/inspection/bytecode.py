"""The lite interpreter's program, bytecode.pkl: its version, its methods, and the operators they call."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from fxconv.inspection.found import Operator, Unreadable

_MOST_ROWS, _MOST_ARGUMENTS = 1_000_000, 10
_DAMAGED = "its bytecode.pkl is no program of the lite interpreter; it is damaged or made to deceive"


@dataclass(frozen=True)
class Bytecode:
    """`version` decides which runtimes load it; `methods` are signatures, with how many instructions each has."""

    version: int
    methods: tuple[tuple[str, int], ...]
    operators: tuple[Operator, ...]


def read_bytecode(value: Any) -> Bytecode:
    """What the inert value of bytecode.pkl says. Raises `Unreadable` when it is no such program."""
    if not isinstance(value, tuple) or not value or isinstance(value[0], bool) or not isinstance(value[0], int):
        raise Unreadable(_DAMAGED)
    left = _MOST_ROWS
    methods: list[tuple[str, int]] = []
    calls: Counter[tuple[str, str, int | None]] = Counter()
    for function in value[1:]:
        if not isinstance(function, tuple) or len(function) < 2 or not isinstance(function[0], str):
            raise Unreadable(_DAMAGED)
        instructions, operators = (_table(function[1], name) for name in ("instructions", "operators"))
        left -= 1 + len(instructions) + len(operators)  # a small pickle may hold one function a million times
        if left < 0:
            raise Unreadable(f"its bytecode.pkl has more than {_MOST_ROWS:,} instructions; no model has so many")
        methods.append((_signature(function), len(instructions)))
        rows = [_row(operator) for operator in operators]
        calls.update(dict.fromkeys(rows, 0))
        for instruction in instructions:
            if isinstance(instruction, tuple) and len(instruction) > 1 and instruction[0] in ("OP", "OPN"):
                number = instruction[1]
                if not isinstance(number, int) or not 0 <= number < len(rows):
                    raise Unreadable(_DAMAGED)
                calls[rows[number]] += 1
    found = sorted(calls, key=lambda row: (row[0], row[1], row[2] or 0))
    return Bytecode(value[0], tuple(methods), tuple(Operator(*row, calls=calls[row]) for row in found))


def _signature(function: tuple[Any, ...]) -> str:
    """A method's name and arguments, without the module itself; the name alone where the file says no more."""
    name = function[0].rpartition(".")[2]
    try:
        rows = _table(function[2], "arguments")[1:] if len(function) > 2 else None
    except Unreadable:
        rows = None
    if rows is None:
        return name
    pairs = [(_text(row, "name"), _text(row, "type")) for row in rows[:_MOST_ARGUMENTS]]
    return f"{name}({', '.join(f'{argument}: {kind}' for argument, kind in pairs)})"


def _text(row: Any, name: str) -> str:
    pairs = row if isinstance(row, tuple) else ()
    return next(
        (str(pair[1])[:80] for pair in pairs if isinstance(pair, tuple) and len(pair) == 2 and pair[0] == name), "?"
    )


def _table(tables: Any, name: str) -> tuple[Any, ...] | list[Any]:
    """One of a function's tables, which stand in it as pairs of name and rows."""
    for table in tables if isinstance(tables, (tuple, list)) else ():
        if isinstance(table, tuple) and len(table) == 2 and isinstance(table[0], str) and table[0] == name:
            if isinstance(table[1], (tuple, list)):
                return table[1]
            break
    raise Unreadable(_DAMAGED)


def _row(operator: Any) -> tuple[str, str, int | None]:
    """Name, overload, and from version 6 on how many arguments are passed."""
    if not isinstance(operator, tuple) or not 2 <= len(operator) <= 3:
        raise Unreadable(_DAMAGED)
    name, overload, *rest = operator
    if not isinstance(name, str) or not isinstance(overload, str) or not all(isinstance(n, int) for n in rest):
        raise Unreadable(_DAMAGED)
    return name, overload, rest[0] if rest else None
