"""Where accuracy goes: where noise grows most, all layers with their ranges, and what was done about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fxconv.measures.layer_survey import SURVEYED, Layer
from fxconv.report.accuracy import fidelity_parts, judgement_parts, recipe_parts, training_parts
from fxconv.report.html.markup import element, from_parts, table, text
from fxconv.report.html.plots import FAIR_DB, POOR_DB, beyond, by_layer, grade, histogram, ranking
from fxconv.report.tables import count, decibels, percent

if TYPE_CHECKING:
    from fxconv.conversion import Conversion

# Of the layers in which noise grows so many are named,
_MOST_NAMED = 5
# if it is more than this share of what their values carry: 40 dB.
_LEAST_ADDED = 1e-4


def accuracy(conversion: Conversion) -> str:
    """The section, as far as there is something to tell."""
    parts = [element("h3", "Fidelity: int8 beside float"), from_parts(fidelity_parts(conversion))]
    layers = conversion.layers
    if any(layer.sqnr_db is not None for layer in layers):
        worst = _worst(layers)
        words = (
            "Each bar is a layer: how far its values in the int8 model are from those in the float model by then, with "
            f"all that went before, on {count(min(SURVEYED, conversion.audit.inputs), 'calibration image')}. Below "
            f"{POOR_DB:g} dB it is marked as poor, below {FAIR_DB:g} dB as fair."
        )
        parts += [element("p", text(words)), by_layer(layers, worst), _named(layers, worst), _table(layers)]
    if conversion.recipe.gains or conversion.recipe.steps:
        parts.append(element("h3", "Accuracy recovered without training"))
        parts.append(from_parts(recipe_parts(conversion.recipe), "The steps, and what each brought"))
    if (training := conversion.training) is not None:
        parts.append(element("h3", "Fine-tuned while it was rounded"))
        parts.append(from_parts(training_parts(training), "The epochs"))
    if (judgement := conversion.judgement) is not None:
        parts.append(element("h3", "Judged on images not used for calibration"))
        captions = ("How int8 answers", "What was kept in float, and its price")
        parts.append(from_parts(judgement_parts(judgement), *captions))
        if judgement.ranking:
            parts.append(element("h3", "Sensitivity: what each layer costs when it alone is in int8"))
            parts.append(ranking(judgement.ranking))
    return "\n".join(parts)


def _worst(layers: Sequence[Layer]) -> list[Layer]:
    """The layers in which noise grows most, the most first."""
    adding = [(layer.added, layer) for layer in layers if layer.added is not None and layer.added > _LEAST_ADDED]
    adding.sort(key=lambda pair: -pair[0])
    return [layer for _, layer in adding[:_MOST_NAMED]]


def _named(layers: Sequence[Layer], worst: Sequence[Layer]) -> str:
    if not worst:
        return element("p", "In no layer does the noise grow by more than a ten-thousandth of the power of its values.")
    at = {layer.name: place for place, layer in enumerate(layers)}
    items = []
    for layer in worst:
        name = element("a", element("code", text(layer.label)), href=f"#layer-{at[layer.name]}")
        before = layer.before_db if layer.before_db is not None else math.inf
        fall = f"{decibels(before)} to {decibels(layer.sqnr_db or 0.0)}, +{percent(layer.added, 2)}"
        items.append(element("li", f"{name} ({text(layer.operator)}): {text(fall)}"))
    words = "The noise grows most in these, numbered in the chart; by so much of the power of a layer's values:"
    return element("p", words) + element("ol", "".join(items), class_="worst")


def _table(layers: Sequence[Layer]) -> str:
    rows, names = [], []
    for place, layer in enumerate(layers):
        if layer.sqnr_db is None:
            continue
        name = element("a", element("code", text(layer.label)), href=f"#node-{place}", data_node=place)
        figure = element("span", text(decibels(layer.sqnr_db)), class_=f"figure {grade(layer.sqnr_db)}")
        found = layer.range
        ends = f"{found.low:.4g} to {found.high:.4g}" if found is not None else ""
        out = text(beyond(found)) if found is not None else ""
        plot = histogram(found, layer.label) if found is not None else ""
        rows.append([name, text(layer.operator), figure, element("span", text(ends), class_="ends"), out, plot])
        names.append(f"layer-{place}")
    heads = ["layer", "operation", "SQNR", "range", "beyond it", "float values on it"]
    ranged = ", with their ranges" if any(layer.range for layer in layers) else ""
    if not ranged:  # those that are found at run time are in no report
        heads, rows = heads[:3], [row[:3] for row in rows]
    caption = f"All {len(rows)} layers in running order{ranged}; a name leads to the graph"
    return table(rows, heads, caption, [2, 4], names, "wide tall")
