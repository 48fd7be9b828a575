"""The values a pass leaves behind: what it changed, what it declined, and both together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EditKind = Literal["replace", "remove", "insert", "rename"]


@dataclass(frozen=True)
class Edit:
    """One change to the graph: what stood there, what stands there now, and why."""

    kind: EditKind
    node: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True)
class Skip:
    """A node a pass declined to touch, with the reason as a sentence."""

    node: str
    reason: str


@dataclass(frozen=True)
class Hunk:
    """What a pass changed in one place of a module of the model.

    `module` is its path in the model's own names, "" the whole model, and `kind` its class. `reasons` say why. `lines`
    are those of a diff: removed behind "-", added behind "+", others behind a space. `sources` has for each line the
    file and line of the model where its operation was written: at the first line that changes an operation, if it is
    known, and "" elsewhere. `echoes` are the lines, by number, of operations that were not edited and only read another
    name now; a hunk of nothing else has no reasons. Hunks of one `shape` differ in names alone.
    """

    module: str
    kind: str
    reasons: tuple[str, ...]
    lines: tuple[str, ...]
    sources: tuple[str, ...]
    echoes: tuple[int, ...]
    shape: str


@dataclass(frozen=True)
class PassResult:
    """What one pass did: `edits` made, `skips` declined, and the unified `diff` of the graph's text.

    `summary` and `why` are the first line and the reason from the pass's page. `hunks` are the same changes by module;
    renamed modules are in no hunk, for the edits say it all.
    """

    name: str
    summary: str
    why: str
    edits: tuple[Edit, ...]
    skips: tuple[Skip, ...]
    diff: str
    hunks: tuple[Hunk, ...] = ()
