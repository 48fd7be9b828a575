"""The page: the verdict first, then where accuracy goes, the graph, the changes, the proof, and how to do it again."""

from __future__ import annotations

import dataclasses
import json
from enum import Enum
from importlib.resources import files
from typing import TYPE_CHECKING

from fxconv.config import Config, Mode
from fxconv.config_file import reproducing
from fxconv.config_file import text as config_text
from fxconv.environment import VERSION
from fxconv.report import terminal
from fxconv.report.html.accuracy import accuracy
from fxconv.report.html.changes import rewriting
from fxconv.report.html.facts import facts
from fxconv.report.html.graph import graph
from fxconv.report.html.markup import element, from_terminal, section, table, text
from fxconv.verification.audit import Audit

if TYPE_CHECKING:
    from fxconv.conversion import Conversion
    from fxconv.targets.written_file import WrittenFile

# Nothing may be asked for: no script, style, font or picture but what is in the file.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(conversion: Conversion, command: str = "") -> str:
    """The whole file. `command` is the line that was typed; without one the call of the library is shown."""
    sections = [
        ("summary", "Summary", _summary(conversion)),
        ("accuracy", "Where accuracy goes", accuracy(conversion)),
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
    data = json.dumps(facts(conversion)).replace("<", "\\u003c")
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
    pairs = (*terminal.summary_rows(conversion), *terminal.detail_rows(conversion))
    rows = [[text(name), text(words)] for name, words in pairs]
    warnings = "".join(element("li", text(warning)) for warning in conversion.warnings)
    told = element("div", f"{element('h3', 'Warnings')}<ul>{warnings}</ul>", class_="warnings") if warnings else ""
    cure = element("p", text(f"What to do: {conversion.cure}")) if not conversion.verified and conversion.cure else ""
    return (
        cure
        + table(rows, ["", ""], "What came out")
        + told
        + from_terminal(terminal.asked_table(conversion), "Asked for")
    )


def _graph(conversion: Conversion) -> str:
    layers = conversion.layers
    if not layers:
        return element("p", "The layers were not compared in this conversion.")
    lines = terminal.island_lines(conversion)
    legend = "".join(
        f'<span class="key {name}">{text(words)}</span>'
        for name, words in (
            ("int8", "int8"),
            ("float", "float, dashed, the reason above it" if lines else "float, dashed"),
            ("boundary", "edge: where values are quantized or dequantized"),
            ("input", "input and output"),
        )
    )
    buttons = "".join(
        element("button", sign, type="button", id=f"zoom-{name}", aria_label=label)
        for name, sign, label in (("in", "+", "Larger"), ("out", "-", "Smaller"), ("reset", "1:1", "Actual size"))
    )
    help_ = (
        "Click a layer, or go to one with the arrow keys and press Enter. Drag to move; Ctrl and the wheel or the "
        "keys + and - make it larger and smaller, 0 its actual size."
    )
    items = "".join(element("li", text(line)) for line in lines)
    listed = f"<h3>Float islands, and why</h3>{element('ul', items)}" if items else ""
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
            from_terminal(terminal.audit_table(conversion.audit, has_steps), terminal.AUDIT_CAPTION),
            *(part for file in conversion.files if not file.target.is_exact for part in _operations(file)),
            element("h3", "Operators"),
            from_terminal(terminal.operators_table(conversion), "Before, and in the written file"),
        ]
    )


def _operations(file: WrittenFile) -> list[str]:
    """The operations of a file whose runtime has kernels of its own, and what in it is not int8."""
    outside = [text(line) for line in terminal.outside_lines(file.artifact.outside)]
    return [
        element("h3", text(f"Operations of the {file.target.suffix}")),
        element("p", text(terminal.operations_words(file))),
        from_terminal(terminal.audit_table(Audit(file.operations, 1), True), terminal.AUDIT_CAPTION),
        *([table([[line] for line in outside], ["operation"], "Outside int8", [])] if outside else []),
    ]


def _costs(conversion: Conversion) -> str:
    files = ""
    if len(conversion.files) > 1:
        files = from_terminal(terminal.files_table(conversion), "The files side by side")
    steps = [[text(step), f"{seconds:.2f}"] for step, seconds in conversion.timings.items()]
    return (
        files
        + from_terminal(terminal.costs_table(conversion), "int8 beside float")
        + table(steps, ["step", "seconds"], "Timings of the conversion", [1])
    )


def _reproduce(conversion: Conversion, command: str) -> str:
    environment = conversion.environment
    versions = (
        f"fxconv {VERSION}, torch {environment.torch}, torchvision {environment.torchvision}, "
        f"Python {environment.python} on {environment.machine}, engine {environment.engine}"
    )
    chosen = reproducing(conversion.config, conversion.recipe.steps)
    again = command or f"conversion = fxconv.convert({', '.join(['model', 'calibration', *_keywords(chosen)])})"
    return "\n".join(
        [
            element("h3", "The command" if command else "The call"),
            element(
                "pre",
                " ".join(element("span", text(word)) for word in again.split(" ")),
                tabindex="0",
                class_="command",
            ),
            element("h3", "The environment"),
            element("p", text(versions)),
            element("h3", "The artifact"),
            element("p", text(f"SHA-256 {conversion.artifact.sha256}"), class_="digest"),
            element("h3", "All choices, as a file for --config"),
            element("pre", text(config_text(chosen)), tabindex="0"),
        ]
    )


def _keywords(config: Config) -> list[str]:
    """The choices that are not the usual ones, as arguments of `fxconv.convert`."""
    usual = Config()
    names = [field.name for field in dataclasses.fields(config)]
    return [
        f"{name}={_plain(getattr(config, name))!r}" for name in names if getattr(config, name) != getattr(usual, name)
    ]


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value.value if isinstance(value, Enum) else value
