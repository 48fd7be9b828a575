"""The choices of a conversion: what they may be given as, and what goes with what."""

from __future__ import annotations

import pytest

from fxconv.config import Config, Mode, Recipe
from fxconv.errors import UserError


def test_a_word_is_as_good_as_its_choice():
    assert Config(mode="qat", recipe=("none",)) == Config(mode=Mode.qat, recipe=(Recipe.none,))
    with pytest.raises(UserError, match="mode 'quick': expected one of 'static', 'dynamic', 'qat'"):
        Config(mode="quick")


def test_what_does_not_fit_one_another():
    assert Config(mode=Mode.qat, recipe=(Recipe.equalization,)).steps == (Recipe.equalization,)
    with pytest.raises(UserError, match="epochs=0: give a whole number"):
        Config(mode=Mode.qat, epochs=0)
