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
class PassResult:
    """What one pass did: `edits` made, `skips` declined, and the unified `diff` of the graph's text.

    `summary` and `why` are the first line and the reason from the pass's page.
    """

    name: str
    summary: str
    why: str
    edits: tuple[Edit, ...]
    skips: tuple[Skip, ...]
    diff: str
