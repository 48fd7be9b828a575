"""A model as the graphs it can be traced into, however much of it does not trace.

A model whose own forward traces is one graph. Where a forward does not trace, its module stays as it is, and those of
its children that do become graphs of their own, in its place: the int8 layers of a detector whose post-processing is
plain Python.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from rewrites.calls import Call, record_calls
from rewrites.decisions import Fixed
from rewrites.naming import class_word
from rewrites.surroundings import unchanged
from rewrites.tracing import FloatLeaf, UntraceableError, trace


@dataclass(frozen=True)
class Parts:
    """`module` is the whole model with its `graphs` in their places, by path; "" is the whole when all of it traced.

    `leaves` are the modules that did not trace, `fixed` the decisions taken for the sizes of the example.
    """

    module: nn.Module
    graphs: Mapping[str, fx.GraphModule]
    leaves: tuple[FloatLeaf, ...]
    fixed: tuple[Fixed, ...]


def trace_parts(model: nn.Module, example: Sequence[Any] | None = None) -> Parts:
    """Trace as much of `model` as traces; what does not stays, with its reason. `model` itself is changed.

    `example` are positional arguments of its forward. Raises `UntraceableError` when no part with weights traces, and
    what the model's own forward raises on the example.
    """
    with unchanged(model):
        calls = record_calls(model, example) if example is not None else {}
    kept: set[str] = set()
    while True:
        finder = _Finder(calls, kept)
        whole = finder.visit(model, "")
        missed = _missed_attribute(whole, finder.graphs, example)
        if missed is None:
            break
        finder.undo()
        kept.add(missed)
    if not finder.graphs:
        raise UntraceableError(
            f"no layer of the model is within reach of tracing; its forward {finder.leaves[0].reason}"
        )
    fixed = {entry: None for graph in finder.graphs.values() for entry in graph.meta["fixed"]}
    return Parts(whole, finder.graphs, tuple(finder.leaves), tuple(fixed))


def _missed_attribute(
    whole: nn.Module, graphs: Mapping[str, fx.GraphModule], example: Sequence[Any] | None
) -> str | None:
    """The path of a graph of which the untraced code around it wants a method, length or item that graphs lack."""
    if example is None or "" in graphs:
        return None
    try:
        with torch.no_grad():
            whole(*tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, tuple(example)))
    except (AttributeError, TypeError) as error:
        for path, graph in graphs.items():
            if _is_about(error, graph):
                return path
        raise
    return None


def _is_about(error: Exception, graph: fx.GraphModule) -> bool:
    """Whether Python says that `graph` cannot do something: "object of type 'Sequential' has no len()"."""
    if isinstance(error, AttributeError):
        return error.obj is graph
    return f" '{type(graph).__name__}' " in f" {error} "


class _Finder:
    """Finds the largest modules that trace, but for those at the paths `kept`, and puts graphs in their places."""

    def __init__(self, calls: Mapping[nn.Module, Call], kept: Collection[str]) -> None:
        self.calls = calls
        self.kept = kept
        self.claimed: set[nn.Module] = set()
        self.replaced: list[tuple[nn.Module, str, nn.Module]] = []
        self.graphs: dict[str, fx.GraphModule] = {}
        self.leaves: list[FloatLeaf] = []
        self.done: dict[nn.Module, nn.Module] = {}

    def visit(self, module: nn.Module, path: str) -> nn.Module:
        """What stands in the place of `module` from now on: a graph, or itself with graphs in it."""
        if module in self.done:
            return self.done[module]
        self.done[module] = found = self._graph(module, path) or module
        if found is module:
            self._visit_children(module, path)
        return found

    def _visit_children(self, module: nn.Module, path: str) -> None:
        for name, child in list(module.named_children()):
            replacement = self.visit(child, f"{path}.{name}" if path else name)
            if replacement is not child:
                self.replaced.append((module, name, child))
                setattr(module, name, replacement)

    def undo(self) -> None:
        """Put the modules back."""
        for parent, name, child in reversed(self.replaced):
            setattr(parent, name, child)

    def _graph(self, module: nn.Module, path: str) -> fx.GraphModule | None:
        """The graph of a module with weights that is called; None when there is none, or it does not trace."""
        if path and (path in self.kept or not _has_weights(module)):
            return None
        call = self.calls.get(module)
        if path and self.calls and (call is None or not call.agrees):
            return None
        if not self.claimed.isdisjoint(module.modules()):
            return None  # another graph calls a layer in it, and would change it under this one's feet
        leaves: tuple[FloatLeaf, ...] = ()
        try:
            if path and _is_layer(module):
                graph_module = _calling(module)
            else:
                graph_module, leaves = trace(module, call.arguments if call is not None else None)
        except UntraceableError as error:
            self.leaves.append(FloatLeaf(path, str(error).replace("the model's own forward does", "does", 1)))
            return None
        for hooked in graph_module.meta.get("hooked", ()):  # what they do stands in the graph
            layer = graph_module.get_submodule(hooked)
            layer._forward_hooks.clear()
            layer._forward_pre_hooks.clear()
        untraced = {leaf.path for leaf in leaves}
        called = [
            graph_module.get_submodule(str(node.target))
            for node in graph_module.graph.nodes
            if node.op == "call_module" and node.target not in untraced
        ]
        reads = [node for node in graph_module.graph.nodes if node.op == "get_attr"]
        inside = [graph_module.get_submodule(leaf.path) for leaf in leaves]
        if any(map(_has_weights, inside)) and not reads and not any(map(_has_weights, called)):
            # It only hands on to what did not trace: a graph of its own would convert values back and forth.
            return None
        self.graphs[path] = graph_module
        self.claimed.update(part for layer in called for part in layer.modules())
        keep_attributes(module, graph_module)
        for leaf in leaves:
            self.leaves.append(replace(leaf, path=f"{path}.{leaf.path}" if path else leaf.path))
            self._visit_children(graph_module.get_submodule(leaf.path), self.leaves[-1].path)
        return graph_module


def keep_attributes(module: nn.Module, graph_module: nn.Module) -> None:
    """Give a graph, or a copy of one, the plain attributes of its module: code around it may ask for them."""
    for name, value in vars(module).items():
        # a forward that was set on the instance is what was traced
        if name not in vars(graph_module) and not name.startswith("_") and name != "forward":
            setattr(graph_module, name, value)


def _has_weights(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters())


def _is_layer(module: nn.Module) -> bool:
    """Whether a module is one operation to a tracer, which would record what happens inside of it."""
    return fx.Tracer().is_leaf_module(module, "")


def _calling(layer: nn.Module) -> fx.GraphModule:
    """A graph that calls one layer and nothing else."""
    graph, word = fx.Graph(), class_word(type(layer))
    parameters = list(inspect.signature(layer.forward).parameters.values())
    inputs = [graph.placeholder(p.name) for p in parameters if p.default is p.empty]
    call = graph.call_module(word, tuple(inputs))
    graph.output(call)
    for node in graph.nodes:
        node.meta["scope"] = ""
    graph_module = fx.GraphModule({word: layer}, graph, type(layer).__name__)
    graph_module.meta.update(constants={}, classes={"": nn.Module, word: type(layer)}, fixed=())
    return graph_module


def graphs_in(module: nn.Module) -> dict[str, fx.GraphModule]:
    """The graphs in a module by path, the outer before the inner; "" is the module itself."""
    return {path: part for path, part in module.named_modules() if isinstance(part, fx.GraphModule)}


def own_modules(graph_module: fx.GraphModule) -> Iterator[tuple[str, nn.Module]]:
    """Path and module of everything in a graph module but what belongs to graphs inside of it."""
    inner = [f"{path}." for path in graphs_in(graph_module) if path]
    for path, part in graph_module.named_modules():
        if not any(f"{path}.".startswith(prefix) for prefix in inner):
            yield path, part


def prefixed(path: str, name: str) -> str:
    """A node's or module's name, behind the path of the graph it stands in."""
    return f"{path}.{name}" if path else name
