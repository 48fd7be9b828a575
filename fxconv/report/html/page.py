"""The page: the verdict first, then where accuracy goes, the graph, the changes, the proof, and how to do it again."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import TYPE_CHECKING

import fxconv
from fxconv.config import Mode
from fxconv.config_file import reproducing
from fxconv.config_file import text as config_text
from fxconv.report import terminal
from fxconv.report.accuracy import print_judgement, print_recipe, print_training
from fxconv.report.html.changes import rewriting
from fxconv.report.html.graph import graph
from fxconv.report.html.markup import element, from_terminal, printed, section, table, text
from fxconv.report.html.plots import FAIR_DB, POOR_DB, by_layer, grade, histogram, ranking
from fxconv.report.tables import decibels

if TYPE_CHECKING:
    from fxconv.conversion import Conversion
    from fxconv.survey import Layer

# Nothing may be asked for: no script, style, font or picture but what is in the file.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(conversion: Conversion, command: str = "") -> str:
    """The whole file. `command` is the line that was typed; without one the call of the library is shown."""
    layers = conversion.layers
    sections = [
        ("summary", "Summary", _summary(conversion)),
        ("accuracy", "Where accuracy goes", _accuracy(conversion)),
        ("graph", "The graph", _graph(conversion)),
        ("changes", "What was changed, and why", rewriting(conversion.rewritten)),
        ("proof", "The proof", _proof(conversion)),
        ("costs", "Size and time", _costs(conversion)),
        ("reproduce", "To do it again", _reproduce(conversion, command)),
    ]
    links = "".join(element("li", element("a", text(title), href=f"#{name}")) for name, title, _ in sections)
    title = f"{conversion.model.name}: {conversion.verdict}"
    here = files("fxconv.report.html")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{text(title)}</title><style>{here.joinpath('page.css').read_text(encoding='utf-8')}</style>"
    )
    body = "\n".join(section(name, words, content) for name, words, content in sections)
    controls = element("button", "Light or dark", id="theme", type="button")
    top = (
        f'<a class="skip" href="#summary">To the summary</a><header>{element("h1", text(conversion.model.name))}'
        f"{_verdict(conversion)}{controls}</header>{element('nav', element('ul', links), aria_label='Sections')}"
    )
    data = json.dumps([_facts(layer) for layer in layers]).replace("<", "\\u003c")
    script = here.joinpath("page.js").read_text(encoding="utf-8")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{top}\n<main>\n{body}\n</main>\n'
        f'<script type="application/json" id="layers-data">{data}</script>\n<script>{script}</script>\n</body></html>\n'
    )


def _verdict(conversion: Conversion) -> str:
    good = conversion.verified
    kind = "good" if good and conversion.converted else "fair" if good else "poor"
    return element("p", text(conversion.verdict), class_=f"verdict {kind}")


def _summary(conversion: Conversion) -> str:
    rows = [[text(name), text(words)] for name, words in terminal.summary_rows(conversion)]
    warnings = "".join(element("li", text(warning)) for warning in conversion.warnings)
    told = element("div", f"{element('h3', 'Warnings')}<ul>{warnings}</ul>", class_="warnings") if warnings else ""
    return table(rows, ["", ""], "What came out") + told + from_terminal(terminal.asked_table(conversion), "Asked for")


def _accuracy(conversion: Conversion) -> str:
    parts = []
    measured = [layer for layer in conversion.layers if layer.sqnr_db is not None]
    if measured:
        words = (
            "Each bar is a layer: how far its values in the int8 model are from those in the float model by then, with "
            f"all that went before. Below {POOR_DB:g} dB it is marked as poor, below {FAIR_DB:g} dB as fair."
        )
        parts += [element("p", text(words)), by_layer(conversion.layers), _layers(measured)]
    if conversion.recipe.gains or conversion.recipe.steps:
        parts.append(element("h3", "Accuracy recovered without training"))
        parts.append(printed(lambda console: print_recipe(conversion.recipe, console)))
    if (training := conversion.training) is not None:
        parts.append(element("h3", "Fine-tuned while it was rounded"))
        parts.append(printed(lambda console: print_training(training, console)))
    if (judgement := conversion.judgement) is not None:
        parts.append(element("h3", "Judged on images not used for calibration"))
        parts.append(printed(lambda console: print_judgement(judgement, console)))
        if judgement.ranking:
            parts.append(element("h3", "Sensitivity: what each layer costs when it alone is in int8"))
            parts.append(ranking(judgement.ranking))
    return "\n".join(parts)


def _layers(layers: list[Layer]) -> str:
    rows = []
    for layer in layers:
        name = layer.path or layer.name
        figure = element("span", text(decibels(layer.sqnr_db or 0.0)), class_=f"figure {grade(layer.sqnr_db)}")
        found = layer.range
        ends = text(f"{found.low:.4g} to {found.high:.4g}") if found is not None else ""
        plot = histogram(found, name) if found is not None else ""
        rows.append([element("code", text(name)), text(layer.operator), figure, ends, plot])
    heads = ["layer", "operation", "SQNR", "range", "float values, and the range over them"]
    inner = table(rows, heads, "Layers, in running order", [2])
    return f"<details open><summary>All {len(layers)} layers, with their ranges</summary>{inner}</details>"


def _graph(conversion: Conversion) -> str:
    layers = conversion.layers
    if not layers:
        return element("p", "The layers were not compared in this conversion.")
    legend = "".join(
        f'<span class="key {name}">{text(words)}</span>'
        for name, words in (
            ("int8", "int8"),
            ("float", "float, dashed, with the reason"),
            ("boundary", "edge: where values are quantized or dequantized"),
            ("input", "input and output"),
        )
    )
    buttons = "".join(
        element("button", sign, type="button", id=f"zoom-{name}", aria_label=label)
        for name, sign, label in (("in", "+", "Larger"), ("out", "-", "Smaller"), ("reset", "1:1", "Actual size"))
    )
    help_ = "Click a layer, or go to one with the arrow keys and press Enter. Keys: + larger, - smaller, 0 actual size."
    lines = "".join(element("li", text(line)) for line in terminal.island_lines(conversion))
    listed = f"<h3>Float islands, and why</h3>{element('ul', lines)}" if lines else ""
    detail = element("div", element("p", "No layer is chosen."), id="detail", aria_live="polite", tabindex="-1")
    scrolled = element("div", graph(layers), id="graph-view", tabindex="0", role="region", aria_label="Graph, scrolls")
    return (
        element("p", help_, class_="help")
        + element("div", legend, class_="legend")
        + element("div", buttons, class_="zoom", role="group", aria_label="Zoom")
        + element("div", scrolled + detail, class_="split")
        + listed
    )


def _proof(conversion: Conversion) -> str:
    has_steps = conversion.config.mode is not Mode.dynamic
    return "\n".join(
        [
            from_terminal(terminal.ledger_table(conversion), "Parity ledger: each stage against the one it must equal"),
            element("h3", "Kernel audit"),
            element("p", text(terminal.audited(conversion))),
            from_terminal(terminal.audit_table(conversion.audit, has_steps), "Operations, the farthest off first"),
            element("h3", "Operators"),
            from_terminal(terminal.operators_table(conversion), "Before, and in the written file"),
        ]
    )


def _costs(conversion: Conversion) -> str:
    steps = [[text(step), f"{seconds:.2f}"] for step, seconds in conversion.timings.items()]
    return from_terminal(terminal.costs_table(conversion), "int8 beside float") + table(
        steps, ["step", "seconds"], "Timings of the conversion", [1]
    )


def _reproduce(conversion: Conversion, command: str) -> str:
    environment = conversion.environment
    versions = (
        f"fxconv {fxconv.__version__}, torch {environment.torch}, torchvision {environment.torchvision}, "
        f"engine {environment.engine}"
    )
    saved = config_text(reproducing(conversion.config, conversion.recipe.steps))
    again = command or "fxconv.convert(model, calibration, config=Config(...))"
    return "\n".join(
        [
            element("h3", "The command" if command else "The call"),
            element("pre", text(again), tabindex="0"),
            element("h3", "The environment"),
            element("p", text(versions)),
            element("h3", "All choices, for --config"),
            element("pre", text(saved), tabindex="0"),
            element("p", text(f"SHA-256 of the artifact: {conversion.artifact.sha256}"), class_="digest"),
        ]
    )


def _facts(layer: Layer) -> dict[str, object]:
    """What a click on a layer shows, in words."""
    sqnr = layer.sqnr_db
    facts: dict[str, object] = {
        "layer": layer.path or layer.name,
        "operation": layer.operator,
        "domain": layer.domain,
        "in float because": layer.reason,
        "SQNR": "" if sqnr is None else decibels(sqnr) if math.isfinite(sqnr) else "exact",
        "written in": layer.module,
        "source": layer.source,
        "changed by": ", ".join(layer.rules),
        "reads": ", ".join(layer.inputs),
    }
    if layer.range is not None:
        found = layer.range
        facts["range"] = f"{found.low:.5g} to {found.high:.5g}"
        facts["scale, zero point"] = f"{found.scale:.5g}, {found.zero_point}"
        facts["float values"] = f"{found.least:.5g} to {found.most:.5g}"
    return {name: value for name, value in facts.items() if value}
