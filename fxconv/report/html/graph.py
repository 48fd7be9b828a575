"""The graph, a row a layer in running order: straight lines to the next, arcs past others, colours by domain."""

from __future__ import annotations

from collections.abc import Sequence

from fxconv.report.html.markup import element, text
from fxconv.report.html.plots import MOST_DB, grade
from fxconv.report.tables import decibels
from fxconv.survey import Layer

_ROW, _BOX, _LANE = 26, 330, 11
_SHOWN = 46
# What a box is marked with besides its colour.
_MARKS = {"int8": "int8", "float": "float", "boundary": "edge", "input": "in", "output": "out"}


def graph(layers: Sequence[Layer]) -> str:
    """All layers as SVG; each is a button that a script, or a keyboard, opens."""
    at = {layer.name: index for index, layer in enumerate(layers)}
    pairs = [(at[name], index) for index, layer in enumerate(layers) for name in layer.inputs if name in at]
    arcs = _lanes([pair for pair in pairs if pair[1] > pair[0] + 1])
    lanes = max((lane for _, _, lane in arcs), default=-1) + 1
    left = 24 + lanes * _LANE
    width = left + _BOX + 520
    parts = [_bands(layers, width)]
    for first, last in pairs:
        if last == first + 1:
            parts.append(f'<path class="edge" d="M{left + 24} {first * _ROW + 23}v6"/>')
    for first, last, lane in arcs:
        x, y, end = left - 8 - lane * _LANE, first * _ROW + 15, last * _ROW + 11
        parts.append(f'<path class="edge" d="M{left} {y}H{x + 4}q-4 0-4 4V{end - 4}q0 4 4 4H{left}"/>')
    parts += [_node(index, layer, left) for index, layer in enumerate(layers)]
    size = {"viewBox": f"0 0 {width} {len(layers) * _ROW + 8}", "width": width, "height": len(layers) * _ROW + 8}
    return element("svg", "\n".join(parts), id="graph-drawing", role="group", aria_label="The graph", **size)


def _lanes(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """A lane for each arc, the short ones inside, so that none lies upon another."""
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


def _bands(layers: Sequence[Layer], width: int) -> str:
    """A shade behind every second module, so that blocks show."""
    parts, start, odd = [], 0, False
    for index in range(1, len(layers) + 1):
        if index == len(layers) or _group(layers[index]) != _group(layers[start]):
            if odd:
                high = (index - start) * _ROW
                parts.append(f'<rect class="band" x="0" y="{start * _ROW}" width="{width}" height="{high}"/>')
            start, odd = index, not odd
    return "".join(parts)


def _group(layer: Layer) -> str:
    return (layer.path or layer.module).partition(".")[0]


def _node(index: int, layer: Layer, left: int) -> str:
    name = layer.path or layer.name
    y, beside = index * _ROW, left + _BOX + 12
    told = ", ".join(filter(None, [name, layer.operator, layer.domain, _figure(layer), layer.reason]))
    inside = (
        f'<rect x="{left}" y="{y + 3}" width="{_BOX}" height="20" rx="4"/>'
        f'<text class="mark" x="{left + _BOX - 6}" y="{y + 17}" text-anchor="end">{_MARKS[layer.domain]}</text>'
        f'<text x="{left + 8}" y="{y + 17}">{text(_cut(name, 36))}</text>'
        f'<text class="beside" x="{beside}" y="{y + 17}">{text(_cut(layer.operator, 24))}</text>'
    )
    if layer.sqnr_db is not None:
        long = 1.6 * min(max(layer.sqnr_db, 0.0), MOST_DB)
        inside += (
            f'<rect class="bar {grade(layer.sqnr_db)}" x="{beside + 170}" y="{y + 7}" width="{long:.1f}" height="12"/>'
        )
        inside += (
            f'<text class="beside" x="{beside + 176 + long:.1f}" y="{y + 17}">{text(decibels(layer.sqnr_db))}</text>'
        )
    elif layer.reason:
        inside += f'<text class="beside" x="{beside + 170}" y="{y + 17}">{text(_cut(layer.reason, _SHOWN))}</text>'
    focus = {"tabindex": "0" if index == 0 else "-1", "role": "button", "data_index": index}
    return element("g", inside, class_=f"node {layer.domain}", aria_label=told, **focus)


def _figure(layer: Layer) -> str:
    return "" if layer.sqnr_db is None else f"SQNR {decibels(layer.sqnr_db)}"


def _cut(words: str, most: int) -> str:
    """The end of a long name, which says more than its beginning; of a sentence the beginning."""
    if len(words) <= most:
        return words
    return f"{words[: most - 1]}…" if " " in words else f"…{words[1 - most :]}"
