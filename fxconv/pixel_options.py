"""What a user can say of preprocessing: a recipe by name or a function, numbers a channel, sizes in pixels."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from enum import Enum

from fxconv.errors import UserError

# Whole recipes, by name; a function of the user's is FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION.
RECIPES = ("torchvision", "timm", "unit", "raw")
# In which values are from 0 to 255, as they stand in the file.
RAW = "raw"
NO_CROP = "none"
_LARGEST = 4096
_SIZE = re.compile(r"0*([1-9]\d{0,4})(?:x0*([1-9]\d{0,4}))?")


class Interpolation(str, Enum):
    """How pixels are resized, by the names that torchvision has for it."""

    nearest = "nearest"
    nearest_exact = "nearest-exact"
    bilinear = "bilinear"
    bicubic = "bicubic"
    box = "box"
    hamming = "hamming"
    lanczos = "lanczos"


def is_function(preprocess: str | None) -> bool:
    """Whether it names a function of the user's, and no recipe."""
    return preprocess is not None and preprocess not in RECIPES


def recipe(text: str) -> str:
    """A recipe's name, or a function of the user's: `FILE.py::NAME`, as pytest has it, is `FILE.py:NAME`.

    Raises `UserError` for what is neither.
    """
    named = text.replace("::", ":")
    if named in RECIPES or re.search(r"[^:]:[^:]", named):
        return named
    known = f"{', '.join(RECIPES)}, or FILE.py:FUNCTION"
    near = difflib.get_close_matches(text.lower(), RECIPES, n=1)
    if text.endswith(".py"):
        raise UserError(f"--preprocess {text}: say which function of it, {text}:FUNCTION")
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"--preprocess {text}: is none of {known}{hint}")


def channel_values(option: str, given: str | float | Sequence[float], highest: float) -> tuple[float, ...]:
    """A number for each channel, or one for all, from `0.5,0.5,0.5` or as numbers; `highest` is that of a mean.

    Raises `UserError` for what is no number, a deviation that is not above 0, and one of values on another scale.
    """
    parts = given.split(",") if isinstance(given, str) else [given] if isinstance(given, (int, float)) else list(given)
    shown = given if isinstance(given, str) else ",".join(map(str, parts))
    try:
        values = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        values = ()
    if not values or not all(map(math.isfinite, values)):
        raise UserError(f"{option} {shown}: give a number for each channel, such as 0.485,0.456,0.406, or one for all")
    if option == "--std" and min(values) <= 0:
        raise UserError(f"{option} {shown}: a deviation is above 0; leave it out where values are not divided")
    if highest == 1 and max(map(abs, values)) > (1 if option == "--mean" else 2):
        raise UserError(
            f"{option} {shown}: is for values from 0 to 1, to which pixels are scaled first; divide it by 255, or add "
            f"--preprocess {RAW}, which leaves them from 0 to 255"
        )
    return values


def pixels(option: str, given: str | int | Sequence[int]) -> str:
    """`N` or `HxW` as text, and of a crop `none`. Raises `UserError` for anything else."""
    if isinstance(given, (list, tuple)):
        given = "x".join(map(str, given))
    text = str(given).lower()
    found = _SIZE.fullmatch(text)
    if found and all(int(side) <= _LARGEST for side in found.groups() if side):
        return "x".join(str(int(side)) for side in found.groups() if side)
    if option == "--crop" and text == NO_CROP:
        return text
    sizes = "N or HxW in pixels, such as 256 or 240x320"
    raise UserError(f"{option} {given}: expected {sizes}{', or none' if option == '--crop' else ''}")


def sides(text: str) -> tuple[int, ...]:
    """The one or two numbers of what `pixels` gives: height and width."""
    return tuple(map(int, text.split("x")))
