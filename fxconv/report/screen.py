"""The console that reports are printed on: no text in one can command the terminal, or break its line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Span, Text

from fxconv.inspection.printable import visible


class Screen(Console):
    """A console for texts that come out of files: names of arrays and classes, keys of a state_dict, paths, messages.

    What is neither a letter nor a space is written out, wherever on the way to the terminal it was put in: escape
    sequences, text that turns around, the end of a line within a line. Brackets and colons are no markup and no emoji.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def print(self, *objects: Any, **options: Any) -> None:
        """What `Console.print` does; each text is one line, whatever is in it."""
        super().print(*(fit(one) if isinstance(one, (str, Text)) else one for one in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What `Console.render` does, its texts fit for a terminal; what rich itself tells the terminal stays."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                yield Segment(visible(segment.text, "\n\t"), segment.style)


def fit(words: str | Text) -> Text:
    """The same, its control and invisible characters written out, ends of lines among them."""
    text = words if isinstance(words, Text) else Text(words)
    if text.plain.isprintable():
        return text
    hidden = [place for place, letter in enumerate(text.plain) if not letter.isprintable()]
    made = Text(style=text.style, end=text.end)
    for part in text.divide(sorted({edge for place in hidden for edge in (place, place + 1)})):
        part.plain, letters = visible(part.plain), len(part.plain)
        part.spans = [
            span if letters == len(part.plain) else Span(0, len(part.plain), span.style) for span in part.spans
        ]
        made.append_text(part)
    return made
