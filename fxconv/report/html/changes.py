"""The changes of the rewriting, pass by pass, as the terminal shows them; what was done alike unfolds."""

from __future__ import annotations

from fxconv.report.html.markup import element, table, text
from fxconv.report.review import NORMS_ALONE, changes, declined, norms_alone, of_pass, renames
from fxconv.report.tables import count
from rewrites import PassResult, Rewritten


def rewriting(rewritten: Rewritten) -> str:
    """A part for each pass that changed or declined something, then what did not trace and what was decided once."""
    parts = [_of_pass(result) for result in of_pass(rewritten, None)]
    idle = [result.name for result in rewritten.results if not result.edits and not result.skips]
    if idle:
        parts.append(element("p", text(f"Nothing to do: {', '.join(idle)}.")))
    if rewritten.leaves:
        leaves = [
            [element("code", text(leaf.path or "the model itself")), text(leaf.reason)] for leaf in rewritten.leaves
        ]
        parts.append(table(leaves, ["module", "why"], "Did not trace, stays as it is in float"))
    if rewritten.fixed:
        fixed = [[text(entry.place), element("code", text(entry.code))] for entry in rewritten.fixed]
        parts.append(table(fixed, ["where", "what"], "Decided once, for the size of the input it was traced with"))
    if alone := norms_alone(rewritten):
        items = "".join(element("li", text(line)) for line in alone)
        parts.append(f"<h3>{text(NORMS_ALONE)}</h3>{element('ul', items)}")
    return "\n".join(parts)


def _of_pass(result: PassResult) -> str:
    head = element("summary", f"{element('code', text(result.name))} {text(_counts(result))}")
    parts = [element("p", text(f"{result.summary} {result.why[:1].upper()}{result.why[1:]}"))]
    for change in changes(result):
        lines = "\n".join(_line(line, source) for line, source in change.lines)
        parts.append(element("p", f"{element('strong', text(change.title))}: {text(change.reason)}"))
        parts.append(element("pre", lines, class_="diff", tabindex="0"))
        if change.more:
            parts.append(element("p", text(change.more), class_="more"))
    moved = renames(result.edits)
    if moved:
        rows = [
            [
                element("code", text(one.before)),
                element("code", text(one.after)),
                text(f"and {len(one.others)} more like this" if one.others else ""),
            ]
            for one in moved
        ]
        parts.append(table(rows, ["old name", "new name", "like this"], "Renamed"))
    for skip, others in declined(result):
        more = f" (and {count(len(others), 'other')} like this)" if others else ""
        parts.append(element("p", f"Left alone: {element('code', text(skip.node))}: {text(skip.reason + more)}"))
    return f'<details class="pass">{head}\n{"".join(parts)}</details>'


def _counts(result: PassResult) -> str:
    skipped = f", {count(len(result.skips), 'place')} left alone" if result.skips else ""
    return f"{count(len(result.edits), 'edit')}{skipped}"


def _line(line: str, source: str) -> str:
    """A line of a diff; its sign stays, for colour alone says nothing on paper or to a screen reader."""
    beside = element("span", text(f"  ({source})"), class_="source") if source else ""
    kind = {"+": "ins", "-": "del"}.get(line[:1])
    return (element(kind, text(line)) if kind else text(line)) + beside
