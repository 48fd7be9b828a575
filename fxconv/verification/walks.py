"""A module run with other ways to run the graphs in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import fx, nn

from fxconv.models.graph_calls import positional
from rewrites.parts import graphs_in

Walk = Callable[..., Any]
"""What takes the arguments of a graph's call, by place, and gives what the graph is to return."""


@contextmanager
def walked(module: nn.Module, walks: Mapping[str, Walk]) -> Iterator[None]:
    """While this lasts each graph of `module`, by its path, runs as its walk has it, the code around them as ever."""
    graphs = {path: graph for path, graph in graphs_in(module).items() if path in walks}
    try:
        for path, graph in graphs.items():
            graph.__dict__["forward"] = _forward(graph, walks[path])
        yield
    finally:
        for graph in graphs.values():
            graph.__dict__.pop("forward", None)


def _forward(graph: fx.GraphModule, walk: Walk) -> Walk:
    return lambda *args, **kwargs: walk(*positional(graph, args, kwargs))
