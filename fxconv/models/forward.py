"""Running a model: its inputs in memory of their own, its outputs as lists of tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from rewrites.surroundings import unchanged

Outputs = list[list[Tensor]]

# Packages whose modules keep nothing of a call in the next.
_KEEPING_NOTHING = ("torch", "rewrites", "fxconv")


def cloned(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same inputs in memory of their own: a model may write into what it is given (`x *= 2`)."""
    return tuple(tree_map(lambda value: value.clone() if isinstance(value, Tensor) else value, inputs))


def named_leaves(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """What nested inputs or outputs hold, in order, each by its keys and places with dots; a lone leaf by "".

    Subclasses of dict and dataclasses of anybody's are looked into.
    """
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, (list, tuple)):
        members = list(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        members = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif not (held := tree_leaves(value)) or held[0] is not value:  # of a class that somebody told torch of
        members = list(enumerate(held))
    else:
        return [(name, value)]
    return [found for key, member in members for found in named_leaves(member, f"{name}.{key}" if name else str(key))]


def leaves(value: Any) -> list[Any]:
    """What nested inputs or outputs hold, in order, subclasses of dict and dataclasses of anybody's included."""
    return [leaf for _, leaf in named_leaves(value)]


def is_number(leaf: Any) -> bool:
    """Whether a leaf of an output is a number or truth value of Python's, which a file returns as a tensor."""
    return isinstance(leaf, (bool, int, float))


def tensor_of(number: float) -> Tensor:
    """A number or truth value as a tensor of no dims: int64, float32 or bool."""
    return torch.full([], number)  # torch.tensor would be a constant to a trace


def named_tensors(value: Any) -> list[tuple[str, Tensor]]:
    """The tensors in nested inputs or outputs, in order, as `named_leaves` has them.

    A number among them is a tensor, and None is nothing: so an artifact returns them.
    """
    known = [(name, tensor_of(leaf) if is_number(leaf) else leaf) for name, leaf in named_leaves(value)]
    return [(name, leaf) for name, leaf in known if isinstance(leaf, Tensor)]


def tensors(value: Any) -> list[Tensor]:
    """The tensors in nested inputs or outputs, in order; a number among them as one, None as nothing."""
    return [tensor for _, tensor in named_tensors(value)]


def returned(module: Callable[..., Any], image: tuple[Any, ...]) -> list[Tensor]:
    """The tensors that a call gives, in memory of their own, and whatever the module remembers of it remembered."""
    with torch.no_grad():
        return [leaf.clone() for leaf in tensors(module(*cloned(image)))]


def outputs(module: Callable[..., Any], images: Sequence[tuple[Any, ...]]) -> Outputs:
    """The floating-point outputs for each example, in the order the structure lists them.

    What code of the user's writes into its modules meanwhile is taken back: hooks, caches, lists that it fills.
    """
    with torch.no_grad(), _kept(module):
        return [[tensor.detach() for tensor in tensors(module(*cloned(image)))] for image in images]


def called(module: nn.Module, arguments: tuple[Any, ...]) -> Any:
    """What a call returns, as it is; what code of the user's writes into its modules meanwhile is taken back."""
    with torch.no_grad(), _kept(module):
        return module(*cloned(arguments))


def _kept(module: Callable[..., Any]) -> AbstractContextManager[Any]:
    """While this lasts modules with code of the user's stay what they are."""
    users = module if isinstance(module, nn.Module) and _has_code_of_the_users(module) else None
    return nullcontext() if users is None else unchanged(users)


def outputs_side_by_side(module: nn.Module, images: Sequence[tuple[Any, ...]]) -> Iterator[list[Tensor]]:
    """`outputs`, several examples at a time: a quantized kernel runs in one thread, and leaves the others idle.

    Modules that are not torch's or fxconv's may remember one call in the next, and are called one by one. The outputs
    of a few examples are held at a time.
    """
    together = 1 if _has_code_of_the_users(module) else 2 * torch.get_num_threads()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(images), together):
            some = images[start : start + together]
            yield from pool.map(lambda image: outputs(module, [image])[0], some)


def _has_code_of_the_users(module: nn.Module) -> bool:
    """Whether a part of a module is no class of torch's or fxconv's, or has a forward that was put on it."""
    parts = module.modules()
    return any("forward" in vars(part) or _package(type(part)) not in _KEEPING_NOTHING for part in parts)


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]
