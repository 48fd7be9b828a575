"""What every test shares: one thread, and garbage that is not looked for in what was imported."""

from __future__ import annotations

import gc
import os

import pytest

# Before torch is imported, and for every process that a test starts: there are as many workers as cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# pytest-xdist's workers have it, and reports in a pipe fold at it.
os.environ.pop("COLUMNS", None)


def pytest_collection_finish() -> None:
    _settle()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Between two files."""
    if nextitem is not None and nextitem.path != item.path:
        _settle()


def _settle() -> None:
    """torch's modules are half a million objects; each conversion collects several times, for a quarter of a second."""
    gc.collect()
    gc.freeze()
