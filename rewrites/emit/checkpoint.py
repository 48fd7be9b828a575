"""How a checkpoint of the original becomes one of the file's module: names, and constants that are in none."""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rewrites.emit.layers import NotEmittable
from rewrites.emit.text import Expression, Group, call, literal

# A constant of more numbers is written in bytes.
_MOST_NUMBERS = 16
# More than this no reviewer wants in a file, nor an editor.
_MOST_BYTES = 1 << 20


def prefixes(sources: Mapping[str, str]) -> dict[str, str]:
    """The shortest table of names here and names there, of which the longest that fits a key says what it is called.

    >>> prefixes({"layer1_0.conv.weight": "layer1.0.conv.weight", "layer1_0.bn.bias": "layer1.0.bn.bias"})
    {'layer1_0': 'layer1.0'}
    """
    table: dict[str, str] = {}
    _descend("", "", sources, table)
    return table


def _descend(prefix: str, there: str, sources: Mapping[str, str], table: dict[str, str]) -> None:
    """Enter what is below `prefix` that is not called `there` and the rest."""
    below = {key: old for key, old in sources.items() if not prefix or key == prefix or key.startswith(f"{prefix}.")}
    if all(_joined(there, _rest(key, prefix)) == old for key, old in below.items()):
        return
    if prefix:
        votes = Counter(_stem(old, _rest(key, prefix)) for key, old in below.items())
        best, count = next(iter(votes.most_common(1)))
        if best is not None and (count > 1 or len(below) == 1) and best != there:
            table[prefix] = there = best
    for part in dict.fromkeys(_rest(key, prefix).partition(".")[0] for key in below):
        if part:
            _descend(_joined(prefix, part), _joined(there, part), below, table)


def _rest(key: str, prefix: str) -> str:
    return key[len(prefix) + 1 :] if prefix else key


def _joined(first: str, second: str) -> str:
    return f"{first}.{second}" if first and second else first or second


def _stem(old: str, rest: str) -> str | None:
    """What `old` begins with when it ends like this."""
    if not rest:
        return old
    return old[: -len(rest) - 1] if old.endswith(f".{rest}") else None


def original(key: str, table: Mapping[str, str]) -> str:
    """What a key is called in a checkpoint of the original."""
    parts = key.split(".")
    for depth in range(len(parts), 0, -1):
        prefix = ".".join(parts[:depth])
        if prefix in table:
            return ".".join([table[prefix], *parts[depth:]])
    return key


def constant(tensor: Tensor, name: str) -> Expression:
    """What makes a tensor again. Raises `NotEmittable` for one that is too large."""
    if tensor.numel() <= _MOST_NUMBERS and tensor.dtype in (torch.float32, torch.int64, torch.bool):
        return call("torch.tensor", numbers(tensor.tolist(), name), dtype=str(tensor.dtype))
    content = base64.b64encode(zlib.compress(tensor.detach().contiguous().numpy().tobytes(), 9)).decode()
    if len(content) > _MOST_BYTES:
        raise NotEmittable(f"{name} is a constant of {len(content):,} characters that no checkpoint has")
    return call("_unpacked", literal(tuple(tensor.shape)), str(tensor.dtype), f'"{content}"')


def numbers(value: Any, name: str) -> Expression:
    """Numbers in lists, be they in each other. Raises `NotEmittable` where one of these is too large."""
    if not isinstance(value, list):
        try:
            return literal(value)
        except ValueError as error:
            raise NotEmittable(f"{name}: {error}") from error
    if (tensor := _as_tensor(value)) is not None and tensor.numel() > _MOST_NUMBERS:
        packed = constant(tensor, name)
        return replace(packed, closing=").tolist()") if isinstance(packed, Group) else packed
    return Group("[", "]", tuple(("", numbers(one, name)) for one in value))


def _as_tensor(value: list[Any]) -> Tensor | None:
    """A tensor of just these numbers; None where they are of several types, or lists of several lengths."""
    try:
        tensor = torch.tensor(value)
        tensor = torch.tensor(value, dtype=torch.float64) if tensor.is_floating_point() else tensor
    except (TypeError, ValueError):
        return None
    return tensor if repr(tensor.tolist()) == repr(value) else None
