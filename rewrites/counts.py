"""Into how many parts a tensor is cut, and whether another size or batch of the input changes that."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from rewrites.decisions import Fixed
from rewrites.proxies import UNKNOWN


def cuts(node: fx.Node, members: int) -> bool:
    """Whether a tensor of another size may be cut into another number of parts; in two it is, but for one image."""
    name = getattr(node.target, "__name__", node.target)
    if name == "chunk":
        return members != 2 or _cut_along(node) == 0
    given = {**dict(zip(("parts",), node.args[1:], strict=False)), **node.kwargs}
    size = given.get("parts", given.get("split_size", given.get("split_size_or_sections")))
    return name == "unbind" or (name == "split" and not isinstance(size, (tuple, list)))


def _cut_along(node: fx.Node) -> int:
    """The dimension along which a node cuts a tensor into parts."""
    at = 1 if getattr(node.target, "__name__", node.target) == "unbind" else 2
    dim = node.args[at] if len(node.args) > at else node.kwargs.get("dim", 0)
    return dim if isinstance(dim, int) else 0


def counts_by_size(graph_module: fx.GraphModule, counts: Mapping[fx.Node, Fixed]) -> list[Fixed]:
    """Of the lines that ask into how many parts a tensor is cut those that cut what another size or batch makes longer.

    A graph that takes no other size cannot be asked; then each of them may be one.
    """
    if not counts:
        return []
    given = [node.meta.get("value", UNKNOWN) for node in graph_module.graph.nodes if node.op == "placeholder"]
    found = dict[fx.Node, None]()
    for other in (_larger, _more):
        seen = _Cuts(graph_module, counts)
        with suppress(Exception), FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            seen.run(*(tree_map(other, value) for value in given))
        found.update(dict.fromkeys(node for node in counts if node not in seen.same))
    return [counts[node] for node in found]


class _Cuts(fx.Interpreter):
    """Runs a graph to see which of some nodes cut a tensor that is as long as it was in the example."""

    def __init__(self, graph_module: fx.GraphModule, asked: Mapping[fx.Node, Fixed]) -> None:
        super().__init__(graph_module)
        self.asked, self.same = asked, set[fx.Node]()

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        if n in self.asked:
            dim = _cut_along(n)
            cut = n.all_input_nodes[0]
            if self.env[cut].shape[dim] == cut.meta["value"].shape[dim]:
                self.same.add(n)
        return super().run_node(n)


def _larger(value: Any) -> Any:
    """A tensor of twice the size: the last two dimensions of images, the last one of anything else."""
    if not isinstance(value, Tensor):
        return value
    at = value.ndim - min(value.ndim, 2 if value.ndim > 3 else 1)
    return torch.empty((*value.shape[:at], *(2 * size for size in value.shape[at:])), dtype=value.dtype)


def _more(value: Any) -> Any:
    """Twice as many of them."""
    if not isinstance(value, Tensor) or not value.ndim:
        return value
    return torch.empty((2 * value.shape[0], *value.shape[1:]), dtype=value.dtype)
