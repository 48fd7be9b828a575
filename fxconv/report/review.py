"""The rewriting as a reviewer reads it: pass by pass, module by module, what was changed alike shown once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from fxconv.report.tables import count, some
from rewrites import Edit, Hunk, PassResult, Rewritten, Skip, UnfoldedNorm
from rewrites.location import place_in
from rewrites.parts import prefixed

ROOT = "the model itself"
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
        return f"{self.hunk.module or ROOT}{kind if self.hunk.module else ''}"

    @property
    def more(self) -> str:
        """Where else the same was done; "" when nowhere."""
        if not self.others:
            return ""
        return f"and {self.others} more like this: {', '.join(module or ROOT for module in self.modules)}"


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
    graphs = tuple(path or ROOT for path in rewritten.graphs)
    if graphs == (ROOT,):
        return ""
    places = dict.fromkeys(place_in(leaf.reason) or leaf.path or ROOT for leaf in rewritten.leaves)
    verb = "does" if len(places) == 1 else "do"
    because = f", because {some(tuple(places))} {verb} not trace" if places else ""
    return f"{len(graphs)} ({some(graphs)}){because}"
