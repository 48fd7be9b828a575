"""The graph, a row a layer in running order: straight lines to the next, arcs past others, colours by domain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fxconv.measures.layer_survey import Layer
from fxconv.report.html.layout import Island, Rows, lanes, rows
from fxconv.report.html.markup import cut, element, text
from fxconv.report.html.plots import MOST_DB, grade
from fxconv.report.tables import count, decibels

_BOX, _LANE, _BESIDE = 320, 11, 340
# What a box is marked with besides its colour.
_MARKS = {"int8": "int8", "float": "float", "boundary": "edge", "input": "in", "output": "out"}
_MOST_REASON = 84
# As wide as what it is seen in on a large screen.
_LEAST_WIDTH = 764


@dataclass(frozen=True)
class _Place:
    """Where the boxes begin, and how wide all of it is."""

    left: int
    width: int


def graph(layers: Sequence[Layer]) -> str:
    """All layers as SVG; each is a button that a script, or a keyboard, opens."""
    at = {layer.name: index for index, layer in enumerate(layers)}
    pairs = [(at[name], index) for index, layer in enumerate(layers) for name in layer.inputs if name in at]
    arcs = lanes([pair for pair in pairs if pair[1] > pair[0] + 1])
    left = 24 + (max((lane for _, _, lane in arcs), default=-1) + 1) * _LANE
    laid, place = rows(layers), _Place(left, max(left + _BOX + _BESIDE, _LEAST_WIDTH))
    parts = [*_bands(layers, laid, place), *(_island(one, place) for one in laid.islands)]
    parts += [f'<text class="part" x="{left}" y="{y + 17}">{text(cut(words, 80))}</text>' for y, words in laid.headings]
    for first, last in pairs:
        if last == first + 1:
            y = laid.tops[first] + 23
            parts.append(f'<path class="edge" d="M{left + 14} {y}V{laid.tops[last] + 3}"/>')
    for first, last, lane in arcs:
        x, y, end = left - 8 - lane * _LANE, laid.tops[first] + 15, laid.tops[last] + 11
        parts.append(f'<path class="edge" d="M{left} {y}H{x + 4}q-4 0-4 4V{end - 4}q0 4 4 4H{left}"/>')
    parts += [_node(index, layer, laid.tops[index], place) for index, layer in enumerate(layers)]
    size = {"viewBox": f"0 0 {place.width} {laid.height}", "width": place.width, "height": laid.height}
    return element("svg", "\n".join(parts), id="graph-drawing", role="group", aria_label="The graph", **size)


def _bands(layers: Sequence[Layer], laid: Rows, place: _Place) -> Iterator[str]:
    """A shade behind every second module, so that blocks show."""
    start, odd = 0, False
    for index in range(1, len(layers) + 1):
        if index == len(layers) or _group(layers[index]) != _group(layers[start]):
            if odd:
                top, end = laid.tops[start], laid.tops[index - 1] + 26
                yield f'<rect class="band" x="0" y="{top}" width="{place.width}" height="{end - top}"/>'
            start, odd = index, not odd


def _group(layer: Layer) -> str:
    return (layer.path or layer.module).partition(".")[0]


def _island(island: Island, place: _Place) -> str:
    """A frame around layers that are in float for one reason, with that above them."""
    x, wide = place.left - 6, place.width - place.left + 2
    first, *others = island.reason.split("; ")
    more = f" (and {count(len(others), 'other reason')})" if others else ""
    shown = text(cut(f"float: {first}", _MOST_REASON - len(more)) + more)
    return (
        f'<g class="island"><title>{text(island.reason)}</title>'
        f'<rect x="{x}" y="{island.top + 1}" width="{wide}" height="{island.end - island.top - 2}" rx="5"/>'
        f'<text x="{place.left + 24}" y="{island.top + 17}">{shown}</text></g>'
    )


def _node(index: int, layer: Layer, y: int, place: _Place) -> str:
    left, beside = place.left, place.left + _BOX + 12
    figure = "" if layer.sqnr_db is None else f"SQNR {decibels(layer.sqnr_db)}"
    told = ", ".join(filter(None, [layer.label, layer.operator, layer.domain, figure, layer.reason]))
    inside = (
        f'<rect x="{left}" y="{y + 3}" width="{_BOX}" height="20" rx="4"/>'
        f'<text class="mark" x="{left + _BOX - 6}" y="{y + 17}" text-anchor="end">{_MARKS[layer.domain]}</text>'
        f'<text x="{left + 8}" y="{y + 17}">{text(cut(layer.label, 35))}</text>'
        f'<text class="beside" x="{beside}" y="{y + 17}">{text(cut(layer.operator, 20))}</text>'
    )
    if layer.sqnr_db is not None:
        x, long = beside + 156, 1.6 * min(max(layer.sqnr_db, 0.0), MOST_DB)
        inside += (
            f'<rect class="bar {grade(layer.sqnr_db)}" x="{x}" y="{y + 7}" width="{long:.1f}" height="12"/>'
            f'<text class="beside" x="{x + 6 + long:.1f}" y="{y + 17}">{text(decibels(layer.sqnr_db))}</text>'
        )
    focus = {"tabindex": "0" if index == 0 else "-1", "role": "button", "data_index": index, "id": f"node-{index}"}
    return element("g", inside, class_=f"node {layer.domain}", aria_label=told, **focus)
