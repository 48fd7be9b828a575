"""Arguments that are given by name, in their places."""

from __future__ import annotations

import functools
import inspect
import itertools
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
    """Torch has a function of the same arguments for each of its own, to test what overrides them."""
    known = {called: _by_place(called, inspect.signature(like)) for called, like in get_testing_overrides().items()}
    return {**known, **_OTHERS}


def _by_place(called: Callable[..., Any], like: inspect.Signature) -> tuple[str, ...]:
    """The arguments that may be given by place: which are taken by name alone, that function does not say."""
    by_name = _by_name(getattr(called, "__name__", ""))
    return tuple(itertools.takewhile(lambda name: name not in by_name, like.parameters))


def _by_name(operator: str) -> set[str]:
    """The arguments that some form of one of torch's operators takes by name alone."""
    forms = getattr(torch.ops.aten, operator, None)
    if not isinstance(forms, torch._ops.OpOverloadPacket):
        return set()
    schemas = [getattr(forms, form)._schema for form in forms.overloads()]
    return {argument.name for schema in schemas for argument in schema.arguments if argument.kwarg_only}
