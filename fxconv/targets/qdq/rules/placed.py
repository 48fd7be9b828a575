"""Arguments that are given by name, in their places."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.overrides import get_testing_overrides

from rewrites.values import callee

# What the functions below do not say, or say otherwise.
_OTHERS: dict[Callable[..., Any], tuple[str, ...]] = {
    torch.permute: ("input", "dims"), Tensor.permute: ("self", "dims"), F.hardsigmoid: ("input",),
}  # fmt: skip
# They say how a result is given, and are no operands.
_HOW = frozenset({"inplace", "out", "dtype"})


def placed(graph_module: fx.GraphModule) -> fx.GraphModule:
    """What torch's functions are given by name stands in its place, up to the first that is left out.

    Rules read what an operation works on, and the dimension along which, from their places.
    """
    for node in graph_module.graph.nodes:
        names = _names(callee(graph_module, node)) if node.kwargs and node.op != "call_module" else ()
        args, kwargs = list(node.args), dict(node.kwargs)
        for name in names[len(args) :]:
            if name not in kwargs or name in _HOW:
                break
            args.append(kwargs.pop(name))
        node.args, node.kwargs = tuple(args), kwargs
    return graph_module


def _names(called: Callable[..., Any] | None) -> tuple[str, ...]:
    """The arguments of one of torch's functions or methods, in order; none of what is not among them."""
    return _known().get(called, ()) if called is not None else ()


@functools.cache
def _known() -> dict[Callable[..., Any], tuple[str, ...]]:
    """Torch has a function of the same signature for each of its own, to test what overrides them."""
    known = {called: tuple(inspect.signature(like).parameters) for called, like in get_testing_overrides().items()}
    return {**known, **_OTHERS}
