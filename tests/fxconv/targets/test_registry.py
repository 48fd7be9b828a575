"""Which target a file name asks for."""

from __future__ import annotations

from pathlib import Path

from fxconv.targets.mobile.target import MOBILE
from fxconv.targets.registry import TARGETS, target_of
from fxconv.targets.suffixes import WRITTEN


def test_the_target_of_a_name():
    assert target_of(Path("x.PTL")) is target_of() is MOBILE


def test_the_suffixes_that_are_known_without_torch_are_theirs():
    assert tuple(target.suffix for target in TARGETS) == WRITTEN
