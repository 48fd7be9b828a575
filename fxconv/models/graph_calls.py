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


class GraphResults:
    """What the graphs of a module give while it runs, in running order; of a module that is one graph nothing.

    `values` holds what each call gave, whole tensors or lists of them, also when the run ends early; `origins` has for
    each of all tensors in it the path of the graph and which of its outputs it is, `handed_on` the places of those that
    another graph was given as they are.
    """

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.handed_on: set[int] = set()
        self.origins: list[tuple[str, int]] = []
        self._paths: dict[nn.Module, str] = {}
        self._kept: list[torch.Tensor] = []  # as long as they live no other tensor lies where they do

    def of(self, module: nn.Module, image: Inputs) -> Any:
        """What `module` returns for one image."""
        graphs = graphs_in(module)
        if "" in graphs:
            return module(*forward.cloned(image))
        self._paths = {graph: path for path, graph in graphs.items()}
        hooks = [graph.register_forward_pre_hook(self._look, with_kwargs=True) for graph in graphs.values()]
        hooks += [graph.register_forward_hook(self._keep) for graph in graphs.values()]
        try:
            return module(*forward.cloned(image))
        finally:
            self._kept.clear()
            for hook in hooks:
                hook.remove()

    def _look(self, _: nn.Module, args: Inputs, kwargs: dict[str, Any]) -> None:
        given = {tensor.untyped_storage().data_ptr() for tensor in forward.tensors([args, kwargs])}
        self.handed_on |= {
            place for place, tensor in enumerate(self._kept) if tensor.untyped_storage().data_ptr() in given
        }

    def _keep(self, graph: nn.Module, _: Any, result: Any) -> None:
        values = result if isinstance(result, torch.Tensor) else forward.tensors(result)
        given = forward.tensors(result)
        self._kept += given
        self.origins += [(self._paths[graph], place) for place in range(len(given))]
        self.values.append(tree_map(torch.clone, values))
