"""What is said of preprocessing is understood, or refused in one line that says how it is said."""

from __future__ import annotations

import pytest

from fxconv.config import Config
from fxconv.errors import UserError
from fxconv.pixel_options import Interpolation, sides
from fxconv.wording import at_command_line


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"mean": "0.5,0.25,0"}, {"mean": (0.5, 0.25, 0.0)}),
        ({"mean": 0.5, "std": [0.25, 0.5, 1]}, {"mean": (0.5,), "std": (0.25, 0.5, 1.0)}),
        ({"preprocess": "raw", "mean": "123.7,116.3,103.5"}, {"mean": (123.7, 116.3, 103.5)}),
        ({"resize": 256, "crop": "224x320"}, {"resize": "256", "crop": "224x320"}),
        ({"resize": (240, 320), "crop": "NONE"}, {"resize": "240x320", "crop": "none"}),
        ({"interpolation": "bicubic"}, {"interpolation": Interpolation.bicubic}),
        ({"preprocess": "own.py:transform"}, {"preprocess": "own.py:transform"}),
        ({"preprocess": "own.py::transform"}, {"preprocess": "own.py:transform"}),
    ],
)
def test_what_is_said_is_kept_in_one_form(given, kept):
    config = Config(**given)
    assert {field: getattr(config, field) for field in kept} == kept


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"mean": "123.7,116.3,103.5"},
            "--mean 123.7,116.3,103.5: is for values from 0 to 1, to which pixels are scaled first; divide it by 255, "
            "or add --preprocess raw, which leaves them from 0 to 255",
        ),
        ({"std": "58"}, "--std 58: is for values from 0 to 1, to which pixels are scaled first; divide it by 255, or"),
        ({"std": "0.2,0,0.2"}, "--std 0.2,0,0.2: a deviation is above 0; leave it out where values are not divided"),
        ({"mean": "a,b"}, "--mean a,b: give a number for each channel, such as 0.485,0.456,0.406, or one for all"),
        ({"mean": "nan"}, "--mean nan: give a number for each channel"),
        ({"mean": ()}, "--mean : give a number for each channel"),
        ({"resize": "big"}, "--resize big: expected N or HxW in pixels, such as 256 or 240x320"),
        ({"resize": "none"}, "--resize none: expected N or HxW in pixels, such as 256 or 240x320"),
        ({"crop": "0"}, "--crop 0: expected N or HxW in pixels, such as 256 or 240x320, or none"),
        ({"crop": "99999"}, "--crop 99999: expected N or HxW in pixels"),
        ({"interpolation": "cubic"}, "cubic"),
        (
            {"preprocess": "torchvison"},
            "--preprocess torchvison: is none of torchvision, timm, unit, raw, or FILE.py:FUNCTION; did you mean "
            "torchvision?",
        ),
        ({"preprocess": "own::"}, "--preprocess own::: is none of torchvision, timm, unit, raw, or FILE.py:FUNCTION"),
        ({"preprocess": "own.py"}, "--preprocess own.py: say which function of it, own.py:FUNCTION"),
        (
            {"preprocess": "own.py:f", "mean": "0.5"},
            "--mean: own.py:f preprocesses by itself; leave one of them out",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(given, line):
    with pytest.raises(UserError) as error, at_command_line():
        Config(**given)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_sides_are_height_and_width():
    assert sides("256") == (256,)
    assert sides("240x320") == (240, 320)
