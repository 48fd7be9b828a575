"""What reaches a terminal commands nothing there, wherever it comes from."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from fxconv.report import tables
from fxconv.report.html.markup import text as html_text
from fxconv.report.screen import Screen, fit

HOSTILE = {
    "an escape sequence": ("a\x1b[2Jb", "a\\x1b[2Jb"),
    "a title of the window": ("a\x1b]0;b\x9c", "a\\x1b]0;b\\x9c"),
    "text that turns around": ("a\u202eb\u2066", "a\\u202eb\\u2066"),
    "letters nobody sees": ("a\u200b\u2060b\ufeff", "a\\u200b\\u2060b\\ufeff"),
    "a line of its own": ("a\nproven", "a\\x0aproven"),
    "other ends of lines": ("a\u2028b\x85", "a\\u2028b\\x85"),
    "markup": ("[red]a[/red] [link=http://b]", "[red]a[/red] [link=http://b]"),
    "emoji in words": (":smile:", ":smile:"),
    "half a letter": ("a\udcff", "a\\udcff"),
    "words of other languages": ("größe 日本 שלום", "größe 日本 שלום"),
}
EVERYWHERE = pytest.mark.parametrize(("hostile", "shown"), HOSTILE.values(), ids=HOSTILE)


def printed(*objects, terminal=False, **options) -> str:
    out = io.StringIO()
    Screen(file=out, force_terminal=terminal, color_system=None, width=200).print(*objects, **options)
    return out.getvalue()


@EVERYWHERE
@pytest.mark.parametrize("terminal", [False, True])
def test_a_text_by_itself(hostile, shown, terminal):
    assert printed(hostile, terminal=terminal) == f"{shown}\n"
    assert printed(Text(hostile), terminal=terminal, soft_wrap=True) == f"{shown}\n"
    assert printed(Text.assemble(("1", "bold"), hostile), terminal=terminal) == f"1{shown}\n"


@EVERYWHERE
@pytest.mark.parametrize("kind", [Screen, Console])
def test_a_cell_of_a_table(hostile, shown, kind):
    """In the console of a user's own, too."""
    out = io.StringIO()
    table = tables.grid("a", "b")
    tables.add(table, hostile, "1")
    tables.add(table, "x", Text(hostile))
    tables.show(table, kind(file=out, width=200))
    wide = max(len(shown), 1) + sum(ord(letter) > 0x1000 and letter not in "שלום" for letter in shown)
    first, second, third = out.getvalue().splitlines()
    assert (first.split(), second.split()[-1]) == (["a", "b"], "1")
    assert second.startswith(shown) and third == f"x{' ' * (wide + 1)}{shown}"


@EVERYWHERE
def test_a_title_and_a_head(hostile, shown):
    out = io.StringIO()
    screen = Screen(file=out, width=200)
    tables.section(screen, hostile)
    screen.print(tables.grid(hostile, "b"))
    assert shown in out.getvalue().splitlines()[1]
    assert all(letter.isprintable() or letter == "\n" for letter in out.getvalue())


def test_styles_stay_where_they_were():
    text = Text.assemble(("head\x1b[2J", "bold"), "\u202ebody\n", ("end", "red"))
    made = fit(text)
    assert made.plain == "head\\x1b[2J\\u202ebody\\x0aend"
    styles = {made.plain[span.start : span.end]: str(span.style) for span in made.spans}
    assert "".join(part for part, style in styles.items() if style == "bold") == "head\\x1b[2J"
    assert styles["end"] == "red"
    assert fit(Text("plain", "red")).style == "red" and fit("plain").plain == "plain"


def test_colours_of_its_own_reach_the_terminal():
    out = io.StringIO()
    Screen(file=out, force_terminal=True, color_system="standard", width=80).print(Text("a\x1b[31mb", "green"))
    assert out.getvalue() == "\x1b[32ma\x1b[0m\x1b[32m\\x1b\x1b[0m\x1b[32m[31mb\x1b[0m\n"


@pytest.mark.parametrize("words", ["a\u202eb", "a\x1b[2J", "<script>", "\"'&"])
def test_in_html(words):
    made = html_text(words)
    assert made.isprintable() and not set("<>\"'") & set(made)
