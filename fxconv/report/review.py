"""The rewriting as a reviewer reads it: pass by pass, module by module, what was changed alike shown once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fxconv.report.tables import add, count, grid, say, section, show, some
from rewrites import Edit, Hunk, PassResult, Rewritten, Skip, UnfoldedNorm
from rewrites.location import place_in
from rewrites.parts import prefixed

_STYLES = {"+": "green", "-": "red"}
_CONTINUED = "      "
_ROOT = "the model itself"
NORMS_ALONE = "Batch norms that run as operations of their own"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Change:
    """A hunk, and how often and in which modules the same was done, but for names."""

    hunk: Hunk
    others: int = 0
    modules: tuple[str, ...] = ()
    has_context: bool = False

    @property
    def reason(self) -> str:
        """Why it was changed."""
        return "; ".join(self.hunk.reasons) or "reads what was changed"

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The lines of the diff, each with the model's own line beside it or ""."""
        hunk, kept = self.hunk, list(range(len(self.hunk.lines)))
        if not self.has_context:
            kept = [index for index in kept if hunk.lines[index][:1] != " " and index not in hunk.echoes]
        return [(hunk.lines[index], hunk.sources[index]) for index in kept]

    @property
    def title(self) -> str:
        """The module and its class."""
        kind = f" ({self.hunk.kind})" if self.hunk.kind else ""
        return f"{self.hunk.module or _ROOT}{kind if self.hunk.module else ''}"

    @property
    def more(self) -> str:
        """Where else the same was done; "" when nowhere."""
        if not self.others:
            return ""
        return f"and {self.others} more like this: {', '.join(module or _ROOT for module in self.modules)}"


@dataclass(frozen=True)
class Rename:
    """A module, parameter or buffer that was renamed, and the others whose names differ from its own in numbers."""

    before: str
    after: str
    others: tuple[str, ...] = ()


def changes(result: PassResult, full: bool = False) -> list[Change]:
    """The hunks of a pass, those of one shape behind the first of them, without what only reads a new name.

    With `full` all of them, each by itself, whole and with the lines around it.
    """
    hunks = [hunk for hunk in result.hunks if hunk.reasons or full]
    groups = _alike(hunks, lambda hunk: (hunk.kind, hunk.shape), full)
    return [
        Change(first, len(others), tuple(dict.fromkeys(o.module for o in others)), full) for first, *others in groups
    ]


def renames(edits: Iterable[Edit], full: bool = False) -> list[Rename]:
    """The renames among edits, those of one pattern behind the first of them; with `full` each by itself.

    Where a module was renamed and what is in it kept its name, the module stands for all of that, behind `.*`.
    """
    given = [edit for edit in edits if edit.kind == "rename"]
    shown = [(edit.before, edit.after) if full else _without_what_stays(edit.before, edit.after) for edit in given]
    groups = _alike(shown, lambda names: re.sub(r"\d+", "#", " ".join(names)), full)
    return [Rename(*first, tuple(before for before, _ in others)) for first, *others in groups]


def _without_what_stays(before: str, after: str) -> tuple[str, str]:
    old, new = before.split("."), after.split(".")
    while len(old) > 1 and len(new) > 1 and old[-1] == new[-1]:
        del old[-1], new[-1]
    end = ".*" if len(old) < len(before.split(".")) else ""
    return ".".join(old) + end, ".".join(new) + end


def declined(result: PassResult, full: bool = False) -> list[tuple[Skip, tuple[str, ...]]]:
    """What a pass left alone, each with the others left for the same reason but for names, unless `full`."""
    names = {skip.node for skip in result.skips} | {edit.node for edit in result.edits}

    def reason(skip: Skip) -> str:
        return re.sub(r"\w+", lambda word: "#" if word[0] in names else word[0], skip.reason)

    groups = _alike(result.skips, reason, full)
    return [(first, tuple(other.node for other in others)) for first, *others in groups]


def norms_alone(rewritten: Rewritten, full: bool = False) -> list[str]:
    """The batch norms that run by themselves, with the reason; those of the same reason but for names behind the first.

    Unless `full`.
    """
    nodes = {prefixed(path, node.name) for path, graph in rewritten.graphs.items() for node in graph.graph.nodes}

    def reason(norm: UnfoldedNorm) -> str:
        return re.sub(r"[\w.]+", lambda word: "#" if word[0] in nodes else word[0], norm.reason)

    return [
        f"{first.node}: {first.reason}" + (f" (and {count(len(others), 'other')} like this)" if others else "")
        for first, *others in _alike(rewritten.unfolded_norms, reason, full)
    ]


def norm_rows(rewritten: Rewritten) -> list[tuple[str, str]]:
    """The line of a summary on batch norms that no layer does the work of; none where there are none."""
    if not (norms := rewritten.unfolded_norms):
        return []
    alone = count(len(norms), "batch norm runs by itself", "batch norms run by themselves")
    return [("norms", f"{alone}; {norms_alone(rewritten)[0]}")]


def _alike(items: Iterable[_T], key: Callable[[_T], object], full: bool) -> list[list[_T]]:
    groups: dict[object, list[_T]] = {}
    for index, item in enumerate(items):
        groups.setdefault(index if full else key(item), []).append(item)
    return list(groups.values())


def of_pass(rewritten: Rewritten, only: str | None) -> list[PassResult]:
    """The passes that changed or declined something; of these the one named `only`."""
    return [result for result in rewritten.results if only in (None, result.name) and (result.edits or result.skips)]


def in_parts(rewritten: Rewritten) -> str:
    """How many parts were converted, and which line made them so many; "" of a model that is one graph."""
    graphs = tuple(path or _ROOT for path in rewritten.graphs)
    if graphs == (_ROOT,):
        return ""
    places = dict.fromkeys(place_in(leaf.reason) or leaf.path or _ROOT for leaf in rewritten.leaves)
    verb = "does" if len(places) == 1 else "do"
    because = f", because {some(tuple(places))} {verb} not trace" if places else ""
    return f"{len(graphs)} ({some(graphs)}){because}"


# -- on a terminal -------------------------------------------------------------------------------------


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
            say(console, f"{leaf.path or _ROOT}: {leaf.reason}")
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


# -- in a pull request -----------------------------------------------------------------------------------


def markdown(rewritten: Rewritten, title: str, full: bool = False, only: str | None = None) -> str:
    """The same in Markdown."""
    total = sum(len(result.edits) for result in rewritten.results)
    parts = [f"# {title}: {count(total, 'place')} rewritten"]
    for result in of_pass(rewritten, only):
        parts.append(f"## {result.name}: {count(len(result.edits), 'edit')}")
        parts.append(f"{result.summary} {result.why[:1].upper()}{result.why[1:]}".strip())
        for change in changes(result, full):
            fenced = "\n".join(f"{line}  ({source})" if source else line for line, source in change.lines)
            parts.append(f"**`{change.title}`**: {change.reason}")
            parts.append(f"```diff\n{fenced}\n```")
            if change.more:
                parts.append(change.more)
        if moved := renames(result.edits, full):
            rows = [
                f"| `{one.before}` | `{one.after}` | {f'and {len(one.others)} more' if one.others else ''} |"
                for one in moved
            ]
            parts.append("\n".join(["| old name | new name | like this |", "|---|---|---|", *rows]))
        for skip, others in declined(result, full):
            more = f" (and {count(len(others), 'other')} like this)" if others else ""
            parts.append(f"Left alone: `{skip.node}`: {skip.reason}{more}")
    if only is not None and not of_pass(rewritten, only):
        parts.append(f"{only}: nothing to do")
    if rewritten.leaves and only is None:
        parts.append("## Did not trace, stays as it is in float")
        if words := in_parts(rewritten):
            parts.append(f"Rewritten in parts: {words}.")
        parts += [f"- `{leaf.path}`: {leaf.reason}" for leaf in rewritten.leaves]
    if only is None and (alone := norms_alone(rewritten, full)):
        parts += [f"## {NORMS_ALONE}", "\n".join(f"- {line}" for line in alone)]
    return "\n\n".join(parts) + "\n"
