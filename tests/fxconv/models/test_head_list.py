"""What --heads says, and of which models."""

from __future__ import annotations

import pytest

from fxconv.errors import UserError
from fxconv.models.head_list import check_heads, parse_heads


def test_names_and_channels():
    assert parse_heads(None) is None
    assert parse_heads("hm:3, wh:2") == {"hm": 3, "wh": 2}


@pytest.mark.parametrize("text", ["", "hm", "hm:0", "1:2", "hm:1,", "hm:x"])
def test_another_form(text):
    with pytest.raises(UserError, match="expected NAME:CHANNELS with commas between"):
        parse_heads(text)


def test_a_name_twice():
    with pytest.raises(UserError, match="a name stands there twice"):
        parse_heads("hm:1,hm:2")


def test_only_a_detector_has_heads_and_it_takes_no_arguments():
    check_heads("detector:resnet18", "hm:1", ())
    check_heads("resnet18", None, ("num_classes",))
    with pytest.raises(UserError, match="--heads hm:1: only a detector has heads to choose; resnet18 is none"):
        check_heads("resnet18", "hm:1", ())
    with pytest.raises(UserError, match="--model-arg width: a detector takes no arguments"):
        check_heads("Detector:resnet18", None, ("width",))
