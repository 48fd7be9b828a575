"""Models made to get a wrong file verified, each with a sound twin, and a judge who trusts none of fxconv's checks.

    ATTACKS[0].attacked  # the source of one

`ATTACKS` are all, in the order of the page that adversary.py writes. The tests take one of each kind.
"""

from __future__ import annotations

from benchmarks.attacks import decisions, memory, ranges, sizes, values  # noqa: F401  they enter their attacks
from benchmarks.attacks.attack import ATTACKS, Attack

__all__ = ["ATTACKS", "Attack"]
