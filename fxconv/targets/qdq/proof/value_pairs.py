"""The scales and zero points of the int8 values in a file beside those of the int8 module's.

A value whose grid is that of what it is made of need not stand apart: a reshape, a maximum, a copy into another order
of dimensions. All others must be there, and nothing besides them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fxconv.targets.qdq.proof.file_numbers import FileValue
from fxconv.targets.qdq.proof.module_numbers import ModuleValue

# Costs of an alignment: two values of different grids; one that has no counterpart, and one that needs none; a layer
# beside what is none; an operation beside a copy of another value.
_OTHER_GRID, _ALONE, _FOLLOWS, _OTHER_KIND, _COPY = 1.0, 1.2, 0.05, 2.0, 0.5


def value_problems(module: Sequence[ModuleValue], file: Sequence[FileValue]) -> list[tuple[str, str]]:
    """Where a value's scale or zero point differs, by its operation or its place in the file, and how."""
    wanted, got = Counter(one.grid for one in module), Counter(one.grid for one in file)
    needed = Counter(one.grid for one in module if not one.follows)
    made = Counter(one.grid for one in file if one.grid not in one.of)
    if all(got[grid] >= count for grid, count in needed.items()) and all(
        wanted[grid] >= count for grid, count in made.items()
    ):
        return []
    found = []
    for one, other in _aligned(module, file):
        if one is not None and other is not None and one.grid != other.grid:
            found.append((one.where, f"has {other.grid} in the file ({other.place}), {one.grid} in the int8 module"))
        elif other is None and one is not None and not one.follows:
            found.append((one.where, f"no value of the file has its {one.grid}"))
        elif one is None and other is not None and other.grid not in other.of:
            found.append((other.place, f"gives a value with {other.grid} that the int8 module does not have"))
    return found or [("the file", "has values in another order than the int8 module")]


def _aligned(
    module: Sequence[ModuleValue], file: Sequence[FileValue]
) -> list[tuple[ModuleValue | None, FileValue | None]]:
    """Both in running order, side by side, so that as little as possible differs."""
    alone = [_FOLLOWS if one.follows else _ALONE for one in module]
    left = [_FOLLOWS if one.grid in one.of else _ALONE for one in file]
    costs = [[0.0] * (len(file) + 1) for _ in range(len(module) + 1)]
    for place in range(len(module)):
        costs[place + 1][0] = costs[place][0] + alone[place]
    for place in range(len(file)):
        costs[0][place + 1] = costs[0][place] + left[place]
    for i, one in enumerate(module):
        for j, other in enumerate(file):
            beside = costs[i][j] + _cost(one, other)
            costs[i + 1][j + 1] = min(beside, costs[i][j + 1] + alone[i], costs[i + 1][j] + left[j])
    pairs: list[tuple[ModuleValue | None, FileValue | None]] = []
    i, j = len(module), len(file)
    while i or j:
        if i and j and costs[i][j] == costs[i - 1][j - 1] + _cost(module[i - 1], file[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((module[i], file[j]))
        elif i and costs[i][j] == costs[i - 1][j] + alone[i - 1]:
            i -= 1
            pairs.append((module[i], None))
        else:
            j -= 1
            pairs.append((None, file[j]))
    return pairs[::-1]


def _cost(one: ModuleValue, other: FileValue) -> float:
    kinds = _OTHER_KIND * (one.is_layer != other.is_layer)
    if one.grid == other.grid:
        return kinds
    # a copy that hands its grid on stands for no operation with a grid of its own
    return kinds + _OTHER_GRID + _COPY * (other.grid in other.of and not one.follows)
