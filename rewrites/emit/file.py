"""What there is to write down in a file, besides what is the same in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewrites.emit.classes import Class
from rewrites.emit.text import Expression, Group


@dataclass(frozen=True)
class Folded:
    """A constant that a checkpoint gives: its path, the module that works it out, and where its tensors come from.

    A tensor has the key of the original's checkpoint in quotes or, for want of one, what makes it.
    """

    path: str
    recipe: Group
    names: Mapping[str, Expression]


@dataclass(frozen=True)
class Decided:
    """What a line of the original decided by its buffers: the module that works it out, and of what, as `Folded`."""

    line: str
    recipe: Group
    names: Mapping[str, Expression]
    answer: Expression


@dataclass(frozen=True)
class File:
    """What there is to write down."""

    name: str
    passes: tuple[tuple[str, int, str], ...]
    helpers: Sequence[str]
    classes: Sequence[Class]
    whole: str
    originals: Mapping[str, str]
    rows: Mapping[str, tuple[int, int]]
    reshaped: tuple[str, ...]
    constants: Mapping[str, Expression]
    folded: tuple[Folded, ...]
    decided: tuple[Decided, ...]
    forward: Mapping[str, tuple[str, ...]]
    fusable: tuple[tuple[str, ...], ...]
    patterns: set[tuple[type, ...]]
    floating: tuple[str, ...]
    functionals: Sequence[str]
