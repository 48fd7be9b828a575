"""Small ExecuTorch programs, as ExecuTorch wrote them (write.py), and what is hostile about others."""

from __future__ import annotations

from pathlib import Path

NAMES = ("int8.pte", "mixed.pte")


def content(name: str) -> bytes:
    """The bytes of one of them."""
    return (Path(__file__).parent / name).read_bytes()
