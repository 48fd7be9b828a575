"""With what each module of a model is called, and what it returns: one eager run on an example."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from rewrites.boundary import Form, form_of


@dataclass(frozen=True)
class Call:
    """What one module is called with: its arguments by parameter name, tensors as empty ones of the same shape.

    `agrees` says whether all calls of the module were alike but for the shapes of their tensors, so that one graph can
    stand for all of them. `form` is how the values are put together that it returns.
    """

    arguments: dict[str, Any]
    agrees: bool = True
    form: Form | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments given that are not made of tensors alone, such as flags, sizes and None."""
        return {name: value for name, value in self.arguments.items() if not _is_of_tensors(value)}


def _is_of_tensors(value: Any) -> bool:
    leaves = tree_leaves(value)
    return bool(leaves) and all(isinstance(leaf, Tensor) for leaf in leaves)


def hollow(value: Any) -> Any:
    """The same structure with every tensor replaced by one on the meta device, which has a shape and no values."""
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, value)


def _bound(module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)


def _alike(first: dict[str, Any], other: dict[str, Any]) -> bool:
    leaves, structure = tree_flatten(first)
    others, other_structure = tree_flatten(other)
    if structure != other_structure:
        return False
    for a, b in zip(leaves, others, strict=True):
        if isinstance(a, Tensor) != isinstance(b, Tensor):
            return False
        if isinstance(a, Tensor):
            if a.ndim != b.ndim or a.dtype != b.dtype:
                return False
        elif (a is not b and type(a) is not type(b)) or (isinstance(a, (bool, int, float, str)) and a != b):
            return False
    return True


def record_calls(model: nn.Module, example: Sequence[Any]) -> dict[nn.Module, Call]:
    """Run `model` once on `example` and note what each of its modules is called with and returns, itself included.

    A module that is never called is missing. What the forward writes into buffers, such as how often it was called, is
    taken back. Raises what the model's own forward raises.
    """
    calls: dict[nn.Module, Call] = {}

    def note(module: nn.Module, args: Any, kwargs: Any) -> None:
        try:
            arguments = hollow(_bound(module, args, kwargs))
        except Exception:  # an argument that cannot be looked into: nothing is known of this module
            calls[module] = Call({}, False)
            return
        known = calls.get(module)
        if known is None:
            calls[module] = Call(arguments)
        elif known.agrees and not _alike(known.arguments, arguments):
            calls[module] = replace(known, agrees=False)

    def note_result(module: nn.Module, args: Any, result: Any) -> None:
        call, form = calls[module], form_of(result)
        if call.form is None or call.form.agrees(form):
            calls[module] = replace(call, form=form if call.form is None else call.form.joined(form))
        else:
            calls[module] = replace(call, agrees=False)

    before = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers() if not buffer.is_inference()]
    hooks = [part.register_forward_pre_hook(note, with_kwargs=True) for part in model.modules()]
    hooks += [part.register_forward_hook(note_result) for part in model.modules()]
    try:
        with torch.no_grad():
            model(*tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, tuple(example)))
    finally:
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for buffer, version, content in before:
                if buffer._version != version:
                    buffer.copy_(content)
    return calls
