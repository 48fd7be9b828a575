"""Values of choices as given from Python: taken where their type fits the field, refused in one line where not."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from fxconv.errors import ArgumentError, UserError

# What is given of each type, where that is no word of several.
_EXPECTED = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
}
# Fields that are given in more forms than the one in which they are kept, and by which words.
_PER_CHANNEL_FIELDS, _PIXEL_FIELDS = ("mean", "std"), ("resize", "crop")
_CHANNELS_EXPECTED = "a number for each channel, or one for all"
_PIXELS_EXPECTED = "N or HxW in pixels, such as 256 or '240x320'"
# Fields that take one text or several.
_SEVERAL_FIELDS = {"runtime": "a release, or one for each kind of file", "dynamic_sizes": "(least, most) in pixels"}
# Fields that may hold code of the user's, of which a Config has the name.
_FUNCTIONS = ("preprocess", "metric")
_OPTION_OF = {"passes": "--pass"}


def typed(field: str, given: Any, kind: Any) -> Any:
    """What was given for a field of this type: a list as a tuple, a lone word as one of several.

    Raises `ArgumentError` for what is of another type. The words of choices are left to who knows them.
    """
    options = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        if given is None:
            return None
        kind = next(option for option in options if option is not types.NoneType)
    if field in _FUNCTIONS and callable(given) and not isinstance(given, str):
        raise ArgumentError(f"{field}: a Config holds FILE.py:NAME; give the function itself to fxconv.convert")
    given = _scalar(given)
    if field in _PER_CHANNEL_FIELDS:
        return _typed_channels(field, given)
    if field in _PIXEL_FIELDS:
        return _typed_pixels(field, given)
    if field in _SEVERAL_FIELDS and isinstance(given, (list, tuple)):
        one = str if field == "runtime" else int
        return tuple(_typed_one(field, _scalar(each), one, _SEVERAL_FIELDS[field], " in it") for each in given)
    if typing.get_origin(kind) is tuple:
        return _typed_words(field, given, typing.get_args(kind)[0])
    return _typed_one(field, given, kind)


def _typed_channels(field: str, given: Any) -> Any:
    if isinstance(given, (str, int, float)) and not isinstance(given, bool):
        return given
    if not isinstance(given, Iterable) or isinstance(given, (Mapping, bytes)):
        raise _refused(field, given, _CHANNELS_EXPECTED)
    values = tuple(map(_scalar, given))
    for value in values:
        if isinstance(value, (bool, bytes)) or not (isinstance(value, str) or hasattr(value, "__float__")):
            raise _refused(field, value, _CHANNELS_EXPECTED, " in it")
    return values


def _typed_pixels(field: str, given: Any) -> Any:
    if isinstance(given, (list, tuple)):
        return tuple(_typed_one(field, _scalar(side), int, _PIXELS_EXPECTED, " in it") for side in given)
    return given if isinstance(given, str) else _typed_one(field, given, int, _PIXELS_EXPECTED)


def _typed_words(field: str, given: Any, kind: type) -> tuple[Any, ...]:
    words = "a list of names, such as ['NAME']" if kind is str else "a list of words"
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Iterable) or isinstance(given, (Mapping, bytes)):
        raise _refused(field, given, words)
    return tuple(_typed_one(field, _scalar(value), kind, words, " in it") for value in given)


def _typed_one(field: str, given: Any, kind: type, words: str = "", where: str = "") -> Any:
    taken: Any = str if issubclass(kind, Enum) else (int, float) if kind is float else kind
    if not isinstance(given, taken) or (isinstance(given, bool) and kind is not bool):
        known = f"one of {', '.join(repr(one.value) for one in kind)}" if issubclass(kind, Enum) else _EXPECTED[kind]
        raise _refused(field, given, words or known, where)
    if kind is float:
        try:
            float(given)
        except OverflowError as error:
            raise UserError(f"{_option(field)}: has {len(str(given))} digits; give a number") from error
    return given


def _scalar(given: Any) -> Any:
    """A scalar of numpy's as the value of Python's; numpy itself need not be there."""
    return given.item() if type(given).__module__ == "numpy" and given.shape == () else given


def _refused(field: str, given: Any, words: str, where: str = "") -> ArgumentError:
    what = "None" if given is None else f"type {type(given).__name__}"
    # a switch is its option in other words: --no-golden
    name = field if words == _EXPECTED[bool] else _option(field)
    return ArgumentError(f"{name}: {what}{where} is not taken; give {words}")


def _option(field: str) -> str:
    return _OPTION_OF.get(field, f"--{field.replace('_', '-')}")
