"""Which observer decides the scale of an int8 value, and which scale that will be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.ao.quantization import FixedQParamsObserver, ObserverBase

from rewrites.kernels import KERNELS, Verdict
from rewrites.modules import MulScalar, ScalarArithmetic
from rewrites.readers import value_readers
from rewrites.values import callee, calls_of, submodule

_LEAST, _MOST = 0, 255  # the ends of quint8

# The scale and zero point of kernels that have a range of their own, whatever is observed.
FIXED: dict[type[nn.Module], tuple[float, int]] = {
    nn.Sigmoid: (1 / 256, 0),
    nn.Hardsigmoid: (1 / 256, 0),
    nn.Tanh: (2 / 256, 128),
}


@dataclass(frozen=True)
class Source:
    """Where the scale of an int8 value comes from.

    `node` computes the value whose range `observer` gives; `path` is the module the observer belongs to. `scalars` are
    the constants added or multiplied since, in running order.
    """

    node: fx.Node
    path: str
    observer: ObserverBase
    scalars: tuple[ScalarArithmetic, ...] = ()

    @property
    def factor(self) -> float:
        """How many times the observer's scale the value's is, as far as products with constants go; 0 for any * 0."""
        factor = 1.0
        for module in self.scalars:
            factor *= abs(module.scalar) if isinstance(module, MulScalar) else 1.0
        return factor

    def qparams(self) -> tuple[float, int]:
        """The scale and zero point of the value, as the kernels of the constants' arithmetic move them."""
        scale, zero_point = (value.item() for value in self.observer.calculate_qparams())
        for module in self.scalars:
            move = _times if isinstance(module, MulScalar) else _plus
            scale, zero_point = move(scale, int(zero_point), module.scalar)
        return scale, int(zero_point)


def _times(scale: float, zero_point: int, number: float) -> tuple[float, int]:
    if number == 0:
        return 1.0, 0
    return scale * abs(number), zero_point if number > 0 else _MOST - zero_point


def _plus(scale: float, zero_point: int, number: float) -> tuple[float, int]:
    moved = zero_point - round(number / scale)
    if moved < _LEAST:
        return scale * (_MOST - moved) / _MOST, _LEAST
    if moved > _MOST:
        return scale * moved / _MOST, _MOST
    return scale, moved


def own_observer(graph_module: fx.GraphModule, node: fx.Node) -> Source | None:
    """The observer of what `node` gives: its module's, its arithmetic's, or that of the stub that ends it.

    A kernel with a range of its own counts as observed with that.
    """
    module = submodule(graph_module, node)
    if module is not None and type(module) in FIXED:
        scale, zero_point = FIXED[type(module)]
        fixed = FixedQParamsObserver(scale, zero_point, dtype=torch.quint8, quant_min=_LEAST, quant_max=_MOST)
        return Source(node, str(node.target), fixed)
    for suffix in ("", "op", "quant"):
        part: nn.Module | None = getattr(module, suffix, None) if suffix else module
        observer = getattr(part, "activation_post_process", None)
        if isinstance(observer, ObserverBase):
            return Source(node, f"{node.target}.{suffix}".rstrip("."), observer)
    return None


def carries(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the scale of what `node` gives is that of its input, moved at most by a constant."""
    if isinstance(submodule(graph_module, node), ScalarArithmetic):
        return own_observer(graph_module, node) is not None  # in float it carries nothing
    row = KERNELS.get(callee(graph_module, node))  # type: ignore[arg-type]
    return row is not None and row.verdict is Verdict.FOLLOWS


def source(graph_module: fx.GraphModule, value: fx.Node) -> Source | None:
    """Where the scale of the int8 value of a node comes from in an observed module; None when no observer gives it."""
    scalars: list[ScalarArithmetic] = []
    node = value
    while carries(graph_module, node):
        module = submodule(graph_module, node)
        if isinstance(module, ScalarArithmetic):
            scalars.insert(0, module)
        if not node.all_input_nodes:
            return None
        node = node.all_input_nodes[0]
    found = own_observer(graph_module, node)
    return None if found is None else Source(found.node, found.path, found.observer, tuple(scalars))


def readers(graph_module: fx.GraphModule, node: fx.Node, but: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    """The nodes that compute with what `node` gives, each with the value it reads: `node`, or one that carries it.

    What reads it through the node `but` is left out.
    """
    queue = calls_of(graph_module, node) or [node]
    while queue:
        value = queue.pop()
        for user in value_readers(value):
            if carries(graph_module, user):
                queue.extend([user] if user is not but else [])
            else:
                yield user, value
