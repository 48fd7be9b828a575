"""Running a model: its inputs in memory of their own, its outputs as lists of tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
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


def leaves(value: Any) -> list[Any]:
    """What nested inputs or outputs hold, in order, subclasses of dict and dataclasses of anybody's included."""
    found: list[Any] = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, dict):
            found += leaves(list(leaf.values()))
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            found += leaves([getattr(leaf, field.name) for field in dataclasses.fields(leaf)])
        else:
            found.append(leaf)
    return found


def tensors(value: Any) -> list[Tensor]:
    """The tensors in nested inputs or outputs, in order."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]


def returned(module: Callable[..., Any], image: tuple[Any, ...]) -> list[Tensor]:
    """The tensors that a call gives, in memory of their own, and whatever the module remembers of it remembered."""
    with torch.no_grad():
        return [leaf.clone() for leaf in tensors(module(*cloned(image)))]


def outputs(module: Callable[..., Any], images: Sequence[tuple[Any, ...]]) -> Outputs:
    """The floating-point outputs for each example, in the order the structure lists them.

    What code of the user's writes into its modules meanwhile is taken back: hooks, caches, lists that it fills.
    """
    users = module if isinstance(module, nn.Module) and _has_code_of_the_users(module) else None
    with torch.no_grad(), nullcontext() if users is None else unchanged(users):
        return [[tensor.detach() for tensor in tensors(module(*cloned(image)))] for image in images]


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
