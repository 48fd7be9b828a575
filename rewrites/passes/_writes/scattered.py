"""Writes to where a mask is set, and to places that tensors name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from rewrites.base import Refusal
from rewrites.passes._writes.builder import Builder, Form
from rewrites.passes._writes.fitting import cast
from rewrites.passes._writes.indices import is_advanced, is_full
from rewrites.values import is_truth


def put(builder: Builder, whole: fx.Node, items: Sequence[Any], value: Any) -> Form:
    """A write to where a mask is set, or to places that tensors name."""
    graph_module = builder.graph_module
    if len(items) == 1 and _is_mask_alike(items[0], whole):
        if not isinstance(value, fx.Node):
            return Form.method("masked_fill", whole, items[0], value)
        if value.meta.get("shape") == ():
            return Form.method("masked_fill", whole, items[0], cast(builder, value, whole))
    if isinstance(value, fx.Node):
        value = cast(builder, value, whole)
    else:
        value = builder.constant(value, whole.meta.get("dtype"))
    indices: list[Any] = []
    for at, item in enumerate(items):
        if is_advanced(graph_module, item):
            indices.append(_as_tensor(builder, item))
        elif is_full(item):
            indices.append(None)
        elif item is Ellipsis and at == len(items) - 1:
            continue
        elif item is Ellipsis and "shape" in whole.meta and not any(is_truth(one) for one in items):
            indices += [None] * (len(whole.meta["shape"]) - len(items) + 1)
        else:
            raise Refusal("its index mixes tensors with numbers or parts of dims")
    return Form.function(torch.ops.aten.index_put, whole, indices, value)


def _is_mask_alike(item: Any, whole: fx.Node) -> bool:
    return is_truth(item) and "shape" in whole.meta and len(item.meta["shape"]) == len(whole.meta["shape"])


def _as_tensor(builder: Builder, item: Any) -> fx.Node:
    if isinstance(item, fx.Node):
        return item
    if not isinstance(item, Tensor) and not all(isinstance(place, int) for place in item):
        raise Refusal("its index is a list of more than numbers")
    tensor = item if isinstance(item, Tensor) else torch.tensor(item)
    return builder.held(tensor, "index")
