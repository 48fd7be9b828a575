"""The rewriting on a terminal: pass by pass, each with its reason, its changes and what it left alone."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fxconv.report.review import NORMS_ALONE, ROOT, changes, declined, norms_alone, of_pass, renames
from fxconv.report.tables import add, count, grid, say, section, show
from rewrites import PassResult, Rewritten

_STYLES = {"+": "green", "-": "red"}
_CONTINUED = "      "


def print_rewriting(
    rewritten: Rewritten, console: Console, tense: str = "rewrote", full: bool = False, only: str | None = None
) -> None:
    """Each pass with its reason and its changes, then what did not trace, and what was decided once."""
    if only is None:
        total = sum(len(result.edits) for result in rewritten.results)
        section(console, f"Rewriting: {tense} {count(total, 'place')}")
        _print_passes(rewritten, console)
    for result in of_pass(rewritten, only):
        _print_pass(result, console, full)
    if only is not None:
        if not of_pass(rewritten, only):
            say(console, f"{only}: nothing to do")
        return
    if rewritten.leaves:
        section(console, "Did not trace, stays as it is in float")
        for leaf in rewritten.leaves:
            say(console, f"{leaf.path or ROOT}: {leaf.reason}")
    if rewritten.unfolded_norms:
        section(console, NORMS_ALONE)
        for line in norms_alone(rewritten, full):
            say(console, line)
    if "" not in rewritten.graphs:
        section(console, "Rewritten each by itself, inside what did not trace")
        for path in rewritten.graphs:
            say(console, path)
    if rewritten.fixed:
        section(console, "Decided once, for the size of the input it was traced with")
        for entry in rewritten.fixed:
            say(console, f"{entry.place}: {entry.code}")


def _print_passes(rewritten: Rewritten, console: Console) -> None:
    """What each pass did in numbers; those that had nothing to do in one line."""
    table = grid(">edits", ">skips", "pass", "what it does")
    for result in of_pass(rewritten, None):
        add(table, str(len(result.edits)), str(len(result.skips)), result.name, result.summary)
    show(table, console)
    idle = [result.name for result in rewritten.results if not result.edits and not result.skips]
    if idle:
        say(console, f"nothing to do: {', '.join(idle)}", "dim")


def _print_pass(result: PassResult, console: Console, full: bool) -> None:
    section(console, f"Pass {result.name}")
    if result.why:
        say(console, f"why: {result.why}", "yellow")
    shown = changes(result, full)
    for index, change in enumerate(shown):
        above, below = shown[index - 1] if index else None, shown[index + 1] if index + 1 < len(shown) else None
        if above is None or above.title != change.title:
            console.print()
        if above is None or (above.title, above.reason) != (change.title, change.reason):
            head = Text.assemble((change.title, "bold"), ": ", (change.reason, "yellow"))
            say(console, head)
        for line, source in change.lines:
            _print_line(line, source, console)
        if change.more and (below is None or (below.title, below.more) != (change.title, change.more)):
            say(console, change.more, "cyan")
    moved = renames(result.edits, full)
    if moved:
        say(console, f"here: {count(sum(1 + len(one.others) for one in moved), 'layer')} renamed", "yellow")
        table = grid("old name", "new name", "")
        for one in moved:
            add(table, one.before, one.after, f"and {len(one.others)} more like this" if one.others else "")
        show(table, console)
    for skip, others in declined(result, full):
        more = f" (and {count(len(others), 'other')} like this)" if others else ""
        say(console, f"left alone: {skip.node}: {skip.reason}{more}", "magenta")


def _print_line(line: str, source: str, console: Console) -> None:
    """A line of a diff and where it was written, behind it or below it."""
    text, style = Text(line, style=_STYLES.get(line[:1], "")), "dim"
    beside = f"  ({source})" if source else ""
    if text.cell_len + cell_len(beside) <= console.width:
        say(console, Text.assemble(text, (beside, style)))
        return
    say(console, text, hanging=_CONTINUED)
    if source:
        say(console, f"{_CONTINUED}({source})", style, _CONTINUED)
