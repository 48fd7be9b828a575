"""What every test shares: what is imported is not looked through again by each collection of garbage."""

from __future__ import annotations

import gc

import pytest


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
