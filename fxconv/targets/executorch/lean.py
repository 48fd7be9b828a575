"""Lowering without what it spends a quarter of its time on, and nobody reads."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.fx import traceback

# Objects made between two searches for garbage, and how many of these between two searches of all there is. Dozens of
# passes each write all nodes anew; what they leave is freed by its counts, and the search finds little.
_THRESHOLDS = (100_000, 20, 20)


@contextmanager
def lean() -> Iterator[None]:
    """While this lasts, garbage is looked for seldom, and a node does not copy the history of those it came from.

    Each of the passes copies the histories of all nodes, all of what the passes before it have added.
    """
    thresholds, names = gc.get_threshold(), vars(traceback)
    gc.set_threshold(*_THRESHOLDS)
    usual, names["copy"] = names["copy"], _Shallow()
    try:
        yield
    finally:
        names["copy"] = usual
        gc.set_threshold(*thresholds)


class _Shallow:
    """The module `copy`, whose `deepcopy` of a history shares what is in it: nothing writes into one."""

    def deepcopy(self, value: Any) -> Any:
        """A list of its own, with the same entries."""
        return list(value) if isinstance(value, list) else copy.deepcopy(value)

    def __getattr__(self, name: str) -> Any:
        return getattr(copy, name)
