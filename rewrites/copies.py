"""Copies of a model: whole ones, and such as do not hold its weights a second time."""

from __future__ import annotations

import copy
import types
from typing import Any, TypeVar, cast

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def whole_copy(module: Module) -> Module:
    """A copy that shares nothing with `module`, be it through a hook that names a module."""
    return _copied(module, {})


def sharing_parameters(module: Module) -> Module:
    """A copy whose modules and buffers are its own and whose parameters are the very ones of `module`.

    For code that replaces parameters and never writes into them: a network of 600 million is 2.5 GB a copy.
    """
    return _copied(module, {id(parameter): parameter for parameter in module.parameters()})


def _copied(module: Module, memo: dict[int, Any]) -> Module:
    """A deep copy, with functions that name what was copied: a hook that keeps an output keeps it in the copy."""
    made = copy.deepcopy(module, memo)
    for part in made.modules():
        for held in cast(list[dict[Any, Any]], [part._forward_hooks, part._forward_pre_hooks, vars(part)]):
            held.update({name: _naming_copies(value, memo) for name, value in held.items()})
    return made


def _naming_copies(function: Any, memo: dict[int, Any]) -> Any:
    """A function of the user's with copies in the places of what they were made of; copy.deepcopy keeps it as it is."""
    if type(function) is not types.FunctionType or id(function) in memo:
        return memo.get(id(function), function)
    memo[id(function)] = function  # it may name itself
    cells = tuple(_cell(cell, memo) for cell in function.__closure__ or ())
    defaults = tuple(memo.get(id(value), value) for value in function.__defaults__ or ())
    if cells == (function.__closure__ or ()) and all(map(_is, defaults, function.__defaults__ or ())):
        return function
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__, defaults or None, cells)
    made.__kwdefaults__, made.__doc__ = function.__kwdefaults__, function.__doc__
    vars(made).update(vars(function))
    memo[id(function)] = made
    return made


def _cell(cell: types.CellType, memo: dict[int, Any]) -> types.CellType:
    try:
        content = cell.cell_contents
    except ValueError:  # a name that has no value yet
        return cell
    copied = memo[id(content)] if id(content) in memo else _naming_copies(content, memo)
    return cell if copied is content else types.CellType(copied)


def _is(first: object, second: object) -> bool:
    return first is second
