"""A conversion below the cell of a notebook that gave it: the verdict and the lines of the summary, and nothing else.

Its styles are its elements' own, and it has no script: a notebook shows it as it is, in its own colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fxconv.report import terminal
from fxconv.report.html.markup import element, text
from fxconv.wording import worded

if TYPE_CHECKING:
    from fxconv.conversion import Conversion

# Warnings beyond these are counted.
_MOST_WARNINGS = 5
_GOOD, _FAIR, _POOR = "#1a7f37", "#9a6700", "#cf222e"
_CELL = "text-align: left; vertical-align: top; padding: 0 1em 0 0"


def fragment(conversion: Conversion) -> str:
    """The conversion as a piece of HTML."""
    good = conversion.verified
    colour = _GOOD if good and conversion.converted else _FAIR if good else _POOR
    verdict = element("span", text(conversion.verdict), style=f"color: {colour}")
    head = element("p", f"{element('strong', text(conversion.model.name))}: {verdict}", style="margin: 0 0 0.5em")
    rows = "".join(
        element(
            "tr",
            element("th", text(name), scope="row", style=f"{_CELL}; white-space: nowrap")
            + element("td", text(worded(words)), style=_CELL),
        )
        for name, words in terminal.summary_rows(conversion)
    )
    told = [element("li", text(warning)) for warning in conversion.warnings[:_MOST_WARNINGS]]
    if more := len(conversion.warnings) - _MOST_WARNINGS:
        told += [element("li", f"and {more} more in conversion.warnings")] if more > 0 else []
    cure = element("p", text(conversion.cure)) if conversion.cure else ""
    warned = element("p", "Warnings:", style="margin: 0.5em 0 0") + element("ul", "".join(told)) if told else ""
    return element("div", f"{head}{cure}{element('table', element('tbody', rows))}{warned}")
