"""The graphs in a model, and what each of them is called with while the whole runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_map

from fxconv.models import forward
from rewrites.parts import graphs_in

Inputs = tuple[Any, ...]


def inputs_of(module: nn.Module, images: Sequence[Inputs], most: int) -> dict[str, list[Inputs]]:
    """What each graph of `module` is called with on these images, at most `most` calls of each, by its path."""
    graphs = graphs_in(module)
    if tuple(graphs) == ("",):
        return {"": list(images[:most])}
    seen: dict[str, list[Inputs]] = {path: [] for path in graphs}

    def note(path: str, graph: fx.GraphModule, args: Inputs, kwargs: dict[str, Any]) -> None:
        if len(seen[path]) < most:
            seen[path].append(forward.cloned(positional(graph, args, kwargs)))

    with _hooked(graphs, note), torch.no_grad():
        for image in images[:most]:
            module(*forward.cloned(image))
    return seen


def failing(module: nn.Module, image: Inputs) -> tuple[str, fx.GraphModule, Inputs] | None:
    """The graph in which `module` stops on this image, with its path and what it was called with."""
    graphs = graphs_in(module)
    running: list[tuple[str, fx.GraphModule, Inputs]] = []

    def enter(path: str, graph: fx.GraphModule, args: Inputs, kwargs: dict[str, Any]) -> None:
        running.append((path, graph, positional(graph, args, kwargs)))

    leave = [graph.register_forward_hook(lambda *_: running.pop() and None) for graph in graphs.values()]
    try:
        with _hooked(graphs, enter), torch.no_grad():
            module(*forward.cloned(image))
    except RuntimeError:
        return running[-1] if running else None
    finally:
        for hook in leave:
            hook.remove()
    return None


def positional(graph: fx.GraphModule, args: Inputs, kwargs: dict[str, Any]) -> Inputs:
    """The arguments of a call of `graph`, in the order of its inputs; the defaults of those behind are left out."""
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    if inputs and str(inputs[0].target).startswith("*"):
        return args
    given, left = list(args), dict(kwargs)
    for node in inputs[len(args) :]:
        if not left or (node.target not in left and not node.args):
            break
        given.append(left.pop(str(node.target)) if node.target in left else node.args[0])
    return tuple(given)


@contextmanager
def _hooked(
    graphs: dict[str, fx.GraphModule], note: Callable[[str, fx.GraphModule, Inputs, dict[str, Any]], None]
) -> Iterator[None]:
    def before(path: str) -> Callable[..., None]:
        return lambda graph, args, kwargs: note(path, graph, args, kwargs)

    hooks = [graph.register_forward_pre_hook(before(path), with_kwargs=True) for path, graph in graphs.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def results_of(module: nn.Module, image: Inputs) -> tuple[Any, list[Any]]:
    """What `module` returns for one image, and what each call of a graph in it returned, in running order."""
    returned: list[Any] = []
    graphs = graphs_in(module)
    if "" in graphs:
        return module(*forward.cloned(image)), []

    def keep(_: nn.Module, __: Any, result: Any) -> None:
        values = result if isinstance(result, torch.Tensor) else forward.tensors(result)
        returned.append(tree_map(torch.clone, values))

    hooks = [graph.register_forward_hook(keep) for graph in graphs.values()]
    try:
        return module(*forward.cloned(image)), returned
    finally:
        for hook in hooks:
            hook.remove()
