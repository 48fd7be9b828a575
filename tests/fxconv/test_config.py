"""The choices of a conversion: what they may be given as, and what goes with what."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from fxconv.config import Config, MobilePass, Mode, Recipe
from fxconv.errors import ArgumentError, UserError


def test_a_word_is_as_good_as_its_choice():
    assert Config(mode="qat", recipe=("none",)) == Config(mode=Mode.qat, recipe=(Recipe.none,))
    with pytest.raises(UserError, match="mode 'quick': expected one of 'static', 'dynamic', 'qat'"):
        Config(mode="quick")


def test_what_does_not_fit_one_another():
    assert Config(mode=Mode.qat, recipe=(Recipe.equalization,)).steps == (Recipe.equalization,)
    with pytest.raises(UserError, match="epochs=0: give a whole number"):
        Config(mode=Mode.qat, epochs=0)


def _function():
    pass


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"calib_count": "a"}, "calib_count: type str is not taken; give a whole number"),
        ({"seed": 1.5}, "seed: type float is not taken; give a whole number"),
        ({"seed": True}, "seed: type bool is not taken; give a whole number"),
        ({"seed": None}, "seed: None is not taken; give a whole number"),
        ({"held_out": np.ones(2)}, "held_out: type ndarray is not taken; give a whole number"),
        ({"max_drop": "x"}, "max_drop: type str is not taken; give a number"),
        ({"peak_threshold": None}, "peak_threshold: None is not taken; give a number"),
        ({"java": "yes"}, "java: type str is not taken; give True or False"),
        ({"golden": 0}, "golden: type int is not taken; give True or False"),
        ({"until": b"x"}, "until: type bytes is not taken; give text"),
        ({"runtime": 3}, "runtime: type int is not taken; give text"),
        ({"preprocess": 3}, "preprocess: type int is not taken; give text"),
        (
            {"preprocess": _function},
            "preprocess: a Config holds FILE.py:NAME; give the function itself to fxconv.convert",
        ),
        ({"metric": _function}, "metric: a Config holds FILE.py:NAME; give the function itself to fxconv.convert"),
        ({"metric": 3}, "metric: type int is not taken; give text"),
        ({"keep_float": 3}, "keep_float: type int is not taken; give a list of names, such as ['NAME']"),
        ({"keep_float": [3]}, "keep_float: type int in it is not taken; give a list of names, such as ['NAME']"),
        ({"model_arg": {"a": 1}}, "model_arg: type dict is not taken; give a list of names, such as ['NAME']"),
        ({"recipe": 3}, "recipe: type int is not taken; give a list of words"),
        ({"block": None}, "block: None is not taken; give a list of words"),
        ({"mode": 3}, "mode: type int is not taken; give one of 'static', 'dynamic', 'qat'"),
        ({"method": None}, "method: None is not taken; give one of 'auto', 'script', 'trace'"),
        ({"mean": object()}, "mean: type object is not taken; give a number for each channel, or one for all"),
        ({"std": [[1.0]]}, "std: type list in it is not taken; give a number for each channel, or one for all"),
        ({"mean": True}, "mean: type bool is not taken; give a number for each channel, or one for all"),
        ({"resize": 3.5}, "resize: type float is not taken; give N or HxW in pixels, such as 256 or '240x320'"),
        ({"crop": [1, None]}, "crop: None in it is not taken; give N or HxW in pixels, such as 256 or '240x320'"),
    ],
)
def test_another_type_is_told_in_one_line(given, line):
    with pytest.raises(ArgumentError) as error:
        Config(**given)
    assert str(error.value) == line


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Config)])
def test_every_field_is_checked_and_named_as_in_python(field):
    with pytest.raises(ArgumentError) as error:
        Config(**{field: object()})
    assert str(error.value).startswith(f"{field}: type object is not taken; give ")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"seed": np.int64(3)}, 3),
        ({"max_drop": np.float32(1)}, 1.0),
        ({"max_drop": np.int16(1)}, 1),
        ({"min_sqnr": 5}, 5),
        ({"java": np.bool_(True)}, True),
        ({"mean": np.float64(0.5)}, (0.5,)),
        ({"mean": np.array([0.5, 0.25])}, (0.5, 0.25)),
        ({"resize": np.int64(256)}, "256"),
        ({"resize": (240, np.int64(320))}, "240x320"),
        ({"passes": "m:P"}, ("m:P",)),
        ({"skip": "a"}, ("a",)),
        ({"keep_float": ["a", "b"]}, ("a", "b")),
        ({"keep_float": (name for name in "ab")}, ("a", "b")),
        ({"recipe": "none"}, (Recipe.none,)),
        (
            {"block": ["remove-dropout"]},
            (MobilePass.remove_dropout,),
        ),
    ],
)
def test_what_is_as_good_is_kept_in_one_form(given, kept):
    ((field, _),) = given.items()
    found = getattr(Config(**given), field)
    assert found == kept
    assert type(found) is type(kept)


def test_a_number_that_no_float_holds():
    with pytest.raises(UserError) as error:
        Config(max_drop=10**400)
    assert str(error.value) == "max_drop: has 401 digits; give a number"


def test_neither_torch_nor_numpy_is_imported():
    code = "import sys, fxconv.config; fxconv.config.Config(seed=1); print({'torch', 'numpy'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
