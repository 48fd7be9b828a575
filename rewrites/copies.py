"""Copies of a model that do not hold its weights a second time."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def sharing_parameters(module: Module) -> Module:
    """A copy whose modules and buffers are its own and whose parameters are the very ones of `module`.

    For code that replaces parameters and never writes into them: a network of 600 million is 2.5 GB a copy.
    """
    return copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})
