"""Damaged files, and files made to harm who reads them: each from a seed, the same every time.

    made("truncated", 7, originals())  # the bytes of one

`KINDS` are the ways, in the order of the table that fuzz.py writes. The tests take some of each.
"""

from __future__ import annotations

from benchmarks.hostile import archived, damage, lengthy, pickles, programs, pte_files  # noqa: F401  they enter their kinds
from benchmarks.hostile.kinds import KINDS, Originals, made
from benchmarks.hostile.originals import originals
from benchmarks.hostile.pickles import MARK

__all__ = ["KINDS", "MARK", "Originals", "made", "originals"]
