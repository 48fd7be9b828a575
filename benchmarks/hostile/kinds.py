"""The ways in which files are damaged or made to harm, by name, and one of any of them from its seed."""

from __future__ import annotations

import random
from collections.abc import Callable

Originals = dict[str, bytes]
Kind = Callable[[random.Random, Originals], bytes]
KINDS: dict[str, Kind] = {}


def kind(title: str) -> Callable[[Kind], Kind]:
    """Enter a function under the name its row of the table has."""

    def named(function: Kind) -> Kind:
        KINDS[title] = function
        return function

    return named


def made(title: str, seed: int, originals: Originals) -> bytes:
    """The bytes of the file that is number `seed` of its kind."""
    return KINDS[title](random.Random(f"{title} {seed}"), originals)


def any_file(rng: random.Random, files: Originals) -> bytes:
    """One of the originals."""
    return files[rng.choice(sorted(files))]


def any_zip(rng: random.Random, files: Originals) -> bytes:
    """One of those that are zip archives."""
    return files[rng.choice(sorted(name for name in files if files[name][:2] == b"PK"))]
