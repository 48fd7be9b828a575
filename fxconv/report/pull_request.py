"""The rewriting as Markdown, for a pull request."""

from __future__ import annotations

from fxconv.report.review import NORMS_ALONE, changes, declined, in_parts, norms_alone, of_pass, renames
from fxconv.report.tables import count
from rewrites import Rewritten


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
