"""A value in the type and the dims of the tensor that it is written into."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from rewrites.passes._writes.builder import Builder, Form
from rewrites.passes._writes.indices import along
from rewrites.passes._writes.sizes import MAKERS_ALIKE, sizes_given
from rewrites.values import is_whole


def cast(builder: Builder, value: fx.Node, whole: fx.Node) -> fx.Node:
    """The value in the type of the tensor it is written into. Types that are not known are taken for the same."""
    wanted, given = whole.meta.get("dtype"), value.meta.get("dtype")
    if wanted is not None and given is not None:
        if wanted is given:
            return value
        fresh = builder.insert(Form.method("to", value, wanted), value)
        fresh.meta["dtype"] = wanted
        return fresh
    graph_module = builder.graph_module
    if is_whole(graph_module, value) == is_whole(graph_module, whole):
        return value
    return builder.insert(Form.method("type_as", value, whole))


def with_kept_dims(builder: Builder, value: fx.Node, items: Sequence[Any], dims: Sequence[int | None]) -> fx.Node:
    """The value in all dims of the tensor: those that numbers took are put in, those that None added are left out."""
    place = next((at for at, item in enumerate(items) if item is Ellipsis), len(items))
    at = 0
    for item in items[:place]:
        if item is None:
            value = builder.insert(Form.function(operator.getitem, value, along(at, 0)))
        else:
            if not isinstance(item, slice):
                value = builder.insert(Form.method("unsqueeze", value, at))
            at += 1
    at = -1
    for item in reversed(items[place + 1 :]):
        if item is None:
            value = builder.insert(Form.function(operator.getitem, value, along(at, 0)))
        else:
            if not isinstance(item, slice):
                value = builder.insert(Form.method("unsqueeze", value, at))
            at -= 1
    return value


_FILLS: dict[Any, int] = {
    torch.zeros: 0, torch.empty: 0, torch.ones: 1, torch.zeros_like: 0, torch.empty_like: 0, torch.ones_like: 1
}  # fmt: skip


def as_constant(builder: Builder, whole: fx.Node) -> fx.Node:
    """A tensor made to be filled, as one number that is seen in all its places: what is left of it can be int8."""
    dtype = whole.meta.get("dtype")
    if whole.target not in _FILLS or dtype is None or not dtype.is_floating_point:
        return whole
    source = whole.args[0] if whole.target in MAKERS_ALIKE and whole.args else None
    sizes: Any = (
        builder.insert(Form.method("size", source)) if isinstance(source, fx.Node) else list(sizes_given(whole))
    )
    if not sizes:
        return whole
    if isinstance(sizes, list) and len(sizes) == 1 and isinstance(sizes[0], fx.Node):
        sizes = sizes[0]  # it may be all of the sizes, as of another tensor
    return builder.insert(Form.method("expand", builder.constant(_FILLS[whole.target], dtype), sizes), whole)
