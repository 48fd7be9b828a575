"""Where code outside of a graph asks a layer in it what it is: the layer goes elsewhere, and a description stays.

An int8 layer has a method where the float one has its weight, and a fused one has none of the settings.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.values import submodule

_WEIGHTS = ("weight", "bias")


class Described(nn.Module):
    """The settings of a layer, with weights of its shapes and types that hold no values and take no room."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        describe(layer, self)


def describe(layer: nn.Module, holder: nn.Module) -> None:
    """Let `holder` answer for a layer: its plain attributes, and its weights as far as type, shape and device go."""
    for name, value in vars(layer).items():
        if name not in vars(holder) and not name.startswith("_"):
            setattr(holder, name, value)
    for name in _WEIGHTS:
        weight = getattr(layer, name, None)
        if name not in vars(holder):
            vars(holder)[name] = _hollow(weight) if isinstance(weight, Tensor) else weight


def _hollow(weight: Tensor) -> Tensor:
    """A tensor of the same type and shape, one value for all."""
    return torch.zeros((), dtype=weight.dtype, device=weight.device).expand(weight.shape)


def leave_described(graph_module: fx.GraphModule, layer: nn.Module) -> None:
    """Move a layer that a graph calls to a path beside its own, where what describes it stays."""
    called = [node for node in graph_module.graph.nodes if submodule(graph_module, node) is layer]
    for old in dict.fromkeys(str(node.target) for node in called):
        parent, _, name = old.rpartition(".")
        holder, new = graph_module.get_submodule(parent), f"{name}_layer"
        while hasattr(holder, new):
            new += "_"
        path = f"{parent}.{new}" if parent else new
        setattr(holder, name, Described(layer))
        setattr(holder, new, layer)
        graph_module.meta["classes"][path] = type(layer)
        for node in graph_module.graph.nodes:
            if node.op in ("call_module", "get_attr") and f"{node.target}.".startswith(f"{old}."):
                node.target = f"{path}{str(node.target)[len(old) :]}"


def descriptions(module: nn.Module) -> dict[str, Described]:
    """What stands for layers in a graph or a copy of one, by path."""
    return {path: part for path, part in module.named_modules() if isinstance(part, Described)}


def keep_descriptions(kept: dict[str, Any], graph_module: fx.GraphModule) -> None:
    """Put back what a graph's own bookkeeping drops, because the graph does not call it."""
    for path, part in kept.items():
        graph_module.add_submodule(path, part)
