"""The classes of this library that a file of its own needs, as they are written here."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from rewrites.emit.layers import number
from rewrites.emit.text import Group, call
from rewrites.frames import FromColumns, FromFrames, ToColumns, ToFrames
from rewrites.functions import OWN
from rewrites.modules import (
    CappedFloatFunctional,
    CappedReLU,
    DividingFloatFunctional,
    Emulated,
    PlainQFunctional,
    Wrapped,
    WrappedUnary,
)

_HELPERS = (CappedReLU, ToFrames, FromFrames, ToColumns, FromColumns, *OWN)


def is_helper(module: nn.Module) -> bool:
    """Whether a module is of a class that rewriting brings."""
    return type(module) in _HELPERS


def made_helper(module: nn.Module, of: str) -> Group:
    """The call that makes one like it."""
    given = inspect.signature(type(module).__init__).parameters
    own = [name for name in given if name in vars(module)]
    return call(type(module).__name__, **{name: number(of, name, getattr(module, name)) for name in own})


def source(kinds: set[Any]) -> list[str]:
    """The text of these classes, in an order that runs."""
    order = (
        CappedReLU, CappedFloatFunctional, DividingFloatFunctional, PlainQFunctional, ToFrames, FromFrames, ToColumns,
        FromColumns, Wrapped, WrappedUnary, Emulated, *OWN,
    )  # fmt: skip
    text: list[str] = []
    for kind in order:
        if kind in kinds:
            text += ["", "", *inspect.getsource(kind).rstrip().splitlines()]
    return text
