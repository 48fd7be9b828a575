"""Tests that lower to ExecuTorch, or run a .pte, and the torches that it is installed beside."""

from __future__ import annotations

import importlib.util

import pytest

# `executorch` alone is a folder that any folder of that name on the path is, that of its tests, too.
HAS_EXECUTORCH = importlib.util.find_spec("torch") is not None and (
    importlib.util.find_spec("executorch") is not None and importlib.util.find_spec("executorch.exir") is not None
)
needs_executorch = pytest.mark.skipif(not HAS_EXECUTORCH, reason="executorch is not installed")
