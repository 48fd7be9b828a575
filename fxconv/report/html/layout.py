"""Where each layer of the graph stands: a row each, rows between for headings, a lane for each arc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fxconv.measures.layer_survey import Layer

ROW = 26


@dataclass(frozen=True)
class Island:
    """Layers one below the other that are in float for one reason: from `top`, where that stands, to `end`."""

    reason: str
    top: int
    end: int


@dataclass(frozen=True)
class Rows:
    """The top of each layer's row, the headings of the model's parts, the float islands, and the height of it all."""

    tops: tuple[int, ...]
    headings: tuple[tuple[int, str], ...]
    islands: tuple[Island, ...]
    height: int


def rows(layers: Sequence[Layer]) -> Rows:
    """A row for each layer, one before each part of a model in parts, and one before each float island."""
    y, tops, headings, islands = 0, list[int](), list[tuple[int, str]](), list[Island]()
    part = reason = ""
    for layer in layers:
        if layer.part != part:
            headings.append((y, f"{layer.part}: a graph by itself; what lies around it did not trace"))
            part, reason, y = layer.part, "", y + ROW
        why = layer.reason if layer.domain == "float" else ""
        if why and why == reason:
            islands[-1] = Island(why, islands[-1].top, y + ROW)
        elif why:
            islands.append(Island(why, y, y + 2 * ROW))
            y += ROW
        reason = why
        tops.append(y)
        y += ROW
    return Rows(tuple(tops), tuple(headings), tuple(islands), y + 8)


def lanes(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """A lane for each arc, the short ones inside, so that none lies upon another: first, last, lane."""
    taken: list[list[tuple[int, int]]] = []
    found = []
    for first, last in sorted(set(pairs), key=lambda pair: (pair[1] - pair[0], pair)):
        free = (n for n, others in enumerate(taken) if all(last <= start or first >= end for start, end in others))
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((first, last))
        found.append((first, last, lane))
    return found
