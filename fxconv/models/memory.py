"""Whether a model's answer to an input depends on what it was called with before, and where it keeps that."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from fxconv.models import forward
from fxconv.models.graph_calls import Inputs
from rewrites.copies import sharing_parameters

# What is looked at of what an attribute holds: as deep as lists in dicts of an object, and no more things than this.
_DEEPEST, _MOST = 4, 1000
# What every module has, and is looked at by itself, or says nothing.
_OF_TORCH = frozenset({"training", "_parameters", "_modules", "_buffers", "_non_persistent_buffers_set"})


def changed(first: Sequence[Tensor], again: Sequence[Tensor]) -> str:
    """How two answers to one input differ, in words; "" when they are the same."""
    if [value.shape for value in first] != [value.shape for value in again]:
        return "of other shapes"
    for index, (a, b) in enumerate(zip(first, again, strict=True)):
        if not torch.equal(a, b):
            most = (a.double() - b.double()).abs().nan_to_num(0.0).max().item() if not a.is_complex() else 0.0
            which = f"output {index}" if len(first) > 1 else "they"
            return f"{which} differ{'s' if len(first) > 1 else ''}" + (f" by up to {most:.3g}" if most else "")
    return ""


def of_earlier_inputs(model: nn.Module, used: nn.Module, images: Sequence[Inputs], first: Sequence[Tensor]) -> str:
    """How later answers to the first image differ from the `first` one, in words; "" when none does.

    `used` is a copy that all images have run through. In a fresh copy of `model` another input runs before any other,
    as something may be made of whatever comes first, and then the first image twice, for what alternates. The other
    input is an image of the same size or, where there is none, one made of the first: a model that cannot take that
    says nothing.
    """
    fresh = sharing_parameters(model)
    other = next((image for image in images[1:] if _differs(image, images[0])), None)
    calls = [(used, images[0])]
    try:
        forward.returned(fresh, other or another(images[0]))
    except Exception:  # whatever a forward raises that checks the values it is given
        pass
    else:
        calls += [(fresh, images[0]), (fresh, images[0])]
    for copy, image in calls:
        if found := changed(first, forward.returned(copy, image)):
            return found
    return ""


def another(image: Inputs) -> Inputs:
    """An input of the same shapes and types, with other numbers in about the same range: mirrored, and fainter."""
    return tuple(tree_map(_other, image))


def _other(value: Any) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    mirrored = value.flip(-1) if value.ndim else value
    return mirrored * 0.75 + 0.125


def _differs(image: Inputs, other: Inputs) -> bool:
    """Whether two inputs are of the same shapes and hold other numbers."""
    pairs = list(zip(forward.tensors(image), forward.tensors(other), strict=False))
    return all(a.shape == b.shape for a, b in pairs) and not all(torch.equal(a, b) for a, b in pairs)


def is_drawn(model: nn.Module, image: Inputs) -> bool:
    """Whether two copies of a model that never ran answer differently: by random numbers, or by what copies share."""
    first, second = (forward.returned(sharing_parameters(model), image) for _ in range(2))
    return changed(first, second) != ""


def places(model: nn.Module, image: Inputs) -> list[str]:
    """The attributes that a forward writes each time it runs, by their paths; where there are none, those of one time.

    What is written the first time alone is a cache as a rule.
    """
    copy = sharing_parameters(model)
    states = [_state(copy)]
    for _ in range(2):
        forward.returned(copy, image)
        states.append(_state(copy))
    once, again = (_rewritten(before, after) for before, after in pairwise(states))
    return again or once


def _rewritten(before: Mapping[str, list[Any]], after: Mapping[str, list[Any]]) -> list[str]:
    return [name for name, found in after.items() if not _same(before.get(name, []), found)]


def _same(before: Sequence[Any], after: Sequence[Any]) -> bool:
    return len(before) == len(after) and all(
        a is b or (isinstance(a, (int, float, str)) and type(a) is type(b) and a == b)
        for a, b in zip(before, after, strict=True)
    )


def _state(model: nn.Module) -> dict[str, list[Any]]:
    """For each attribute of each module, by its path, what it holds; beside each tensor how often it was written."""
    found = dict[str, list[Any]]()
    for path, part in model.named_modules():
        for name, value in {**vars(part), **part._buffers}.items():
            if name not in _OF_TORCH:
                found[f"{path}.{name}" if path else name] = list(islice(_things(value, _DEEPEST), _MOST))
    return found


def _things(value: Any, depth: int) -> Iterator[Any]:
    yield value
    if isinstance(value, Tensor):
        yield value._version
    if isinstance(value, (nn.Module, type)) or not depth:
        return
    held = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple, set, deque)) else ()
    for each in (*held, *getattr(value, "__dict__", {}).values()):
        yield from _things(each, depth - 1)
