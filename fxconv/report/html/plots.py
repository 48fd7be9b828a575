"""Plots as inline SVG: where a range lies in the values, and how far from float each layer is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fxconv.measures.layer_survey import Layer, Range
from fxconv.measures.side_by_side import BINS
from fxconv.report.html.markup import cut, element, text
from fxconv.report.tables import decibels, percent

# Beyond this many decibels the eye need not go.
MOST_DB = 60.0
# Below these a layer is marked as poor, and as middling.
POOR_DB, FAIR_DB = 15.0, 25.0
# The chart of sensitivity has this many layers, the worst.
MOST_RANKED = 40


def grade(sqnr_db: float | None) -> str:
    """How well a layer does, in a word; it is the class of what shows it."""
    if sqnr_db is None:
        return "none"
    return "poor" if sqnr_db < POOR_DB else "fair" if sqnr_db < FAIR_DB else "good"


def beyond(found: Range) -> str:
    """The share of values that a range cuts off, in words."""
    return "none" if not found.beyond else "under 0.001 %" if found.beyond < 1e-5 else percent(found.beyond, 3)


def histogram(found: Range, name: str) -> str:
    """The float values, on a scale of roots so that tails show, and the range int8 has for them."""
    width, height = 192, 36
    most = max(*found.bins, 1)
    each = width / BINS
    bars = []
    for index, number in enumerate(found.bins):
        if number:
            tall = max(1.0, (height - 8) * (number / most) ** 0.25)
            bars.append(f"M{index * each:.0f} {height - 6}v-{tall:.1f}h{each:.0f}v{tall:.1f}z")
    first, last = width / 6, width * 5 / 6
    told = (
        f"{name}: values from {found.least:.4g} to {found.most:.4g}, range {found.low:.4g} to {found.high:.4g}, "
        f"scale {found.scale:.4g}, zero point {found.zero_point}, {beyond(found)} of the values beyond it"
    )
    return element(
        "svg",
        f"<title>{text(told)}</title>"
        f'<rect class="inside" x="{first:.0f}" y="0" width="{last - first:.0f}" height="{height - 5}"/>'
        f'<path class="bars" d="{"".join(bars)}"/>'
        f'<path class="ends" d="M{first:.0f} 0v{height}M{last:.0f} 0v{height}"/>',
        class_="histogram",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=told,
    )


def by_layer(layers: Sequence[Layer], marked: Sequence[Layer]) -> str:
    """The SQNR of each layer in running order, a bar each, those `marked` numbered; a bar leads to the layer's row."""
    shown = [(place, layer) for place, layer in enumerate(layers) if layer.sqnr_db is not None]
    numbers = {layer.name: number for number, layer in enumerate(marked, 1)}
    width, height, left, below = 960, 250, 46, 30
    each = (width - left - 8) / max(len(shown), 1)
    parts, counts, marks = list[str](), list[str](), list[tuple[float, float]]()
    for level in (0, 10, 20, 30, 40, 50, 60):
        y = _y(level, height, below)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{width}"/>')
        parts.append(f'<text class="axis" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{level}</text>')
    for index, (place, layer) in enumerate(shown):
        assert layer.sqnr_db is not None
        x, top = left + index * each, _y(layer.sqnr_db, height, below)
        told = f"{layer.label} ({layer.operator}): {decibels(layer.sqnr_db)}"
        bar = (
            f'<rect class="{grade(layer.sqnr_db)}" x="{x:.1f}" y="{top:.1f}" '
            f'width="{max(each * 0.8, 0.6):.1f}" height="{max(height - below - top, 1):.1f}">'
            f"<title>{text(told)}</title></rect>"
        )
        if layer.name in numbers:
            middle, raised = x + each * 0.4, 4
            while any(abs(middle - there) < 14 and abs(top - raised - y) < 13 for there, y in marks):
                raised += 1  # lest 2 and 5 side by side read as 25
            marks.append((middle, top - raised))
            counts.append(
                f'<text class="count" x="{middle:.1f}" y="{top - raised:.1f}" text-anchor="middle">'
                f"{numbers[layer.name]}</text>"
            )
        parts.append(element("a", bar, href=f"#layer-{place}", tabindex="-1"))
    parts += counts  # over all bars
    parts.append(f'<text class="axis" x="{left}" y="{height - 10}">first layer</text>')
    parts.append(f'<text class="axis" x="{width}" y="{height - 10}" text-anchor="end">last layer</text>')
    parts.append('<text class="axis" x="4" y="12">dB</text>')
    label = f"SQNR of {len(shown)} layers in running order, in decibels; the table below has the figures"
    return element(
        "div",
        element("svg", "".join(parts), class_="chart", viewBox=f"0 0 {width} {height}", role="img", aria_label=label),
        class_="wide",
    )


def ranking(rows: Sequence[tuple[str, float]]) -> str:
    """What each layer alone costs, the worst first, as horizontal bars; the rest in a line."""
    width, each = 960, 20
    parts = []
    for index, (where, sqnr) in enumerate(rows[:MOST_RANKED]):
        y, long = index * each, 4.2 * _within(sqnr)
        parts.append(f'<text class="label" x="330" y="{y + 14}" text-anchor="end">{text(cut(where, 46))}</text>')
        parts.append(f'<rect class="{grade(sqnr)}" x="340" y="{y + 3}" width="{max(long, 1):.1f}" height="14"/>')
        parts.append(f'<text class="axis" x="{346 + long:.1f}" y="{y + 14}">{text(decibels(sqnr))}</text>')
    size = f"0 0 {width} {min(len(rows), MOST_RANKED) * each + 4}"
    label = "SQNR at the output with one layer alone in int8, the worst first"
    chart = element("svg", "".join(parts), class_="chart", viewBox=size, role="img", aria_label=label)
    left = len(rows) - MOST_RANKED
    return element("div", chart, class_="wide") + (element("p", f"And {left} that cost less.") if left > 0 else "")


def _within(sqnr: float) -> float:
    return 0.0 if math.isnan(sqnr) else min(max(sqnr, 0.0), MOST_DB)


def _y(sqnr: float, height: int, below: int) -> float:
    return 16 + (height - below - 16) * (1 - _within(sqnr) / MOST_DB)
