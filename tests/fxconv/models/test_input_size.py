"""What --input-size says."""

from __future__ import annotations

import pytest

from fxconv.errors import UserError
from fxconv.models.input_size import InputSize, parse_input_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (None, None),
        ("224", InputSize(224, 224)),
        ("240x320", InputSize(240, 320)),
        ("1x28X28", InputSize(28, 28, 1)),
        ("0096x160", InputSize(96, 160)),
        ("4096", InputSize(4096, 4096)),
        ("3x16x112x128", InputSize(112, 128, 3, 16)),
    ],
)
def test_input_sizes(text, size):
    assert parse_input_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "3.5", "3x", "1x2x3x4x5", "²", "224 x 224", "9" * 5000])
def test_input_sizes_that_are_none(text):
    with pytest.raises(UserError, match="expected N, HxW, CxHxW or CxTxHxW in pixels"):
        parse_input_size(text)
