"""A model as the graphs it can be traced into, however much of it does not trace.

A model whose own forward traces is one graph. Where a forward does not trace, its module stays as it is, and those of
its children that do become graphs of their own, in its place: the int8 layers of a detector whose post-processing is
plain Python.
"""

from __future__ import annotations

import copy
import inspect
import keyword
import operator
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from rewrites.boundary import gives_back, set_boundary, type_of
from rewrites.calls import Call, record_calls
from rewrites.decisions import Fixed
from rewrites.naming import class_word, identifier
from rewrites.outside import Outside
from rewrites.stand_ins import describe, descriptions, keep_descriptions, leave_described
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
    _name_keys_readably(model)
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


class ReadableKeys(nn.ModuleDict):
    """A ModuleDict that keeps modules under names which code can be written with, and gives them by their own keys.

    A key may be a word of Python's, `for` or `None`. TorchScript writes the names of modules as they are.
    """

    def __init__(self, held: nn.ModuleDict) -> None:
        self.__dict__["words"] = {key: identifier(key) for key in held}
        super().__init__({self.words[key]: module for key, module in held.items()})

    words: dict[str, str]

    def __getitem__(self, key: str) -> nn.Module:
        return super().__getitem__(self.words[key])

    def __contains__(self, key: object) -> bool:
        return key in self.words

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def keys(self) -> Any:
        """The keys as the forward has them."""
        return self.words.keys()

    def items(self) -> Any:
        """Keys and modules."""
        return [(key, self[key]) for key in self.words]


def _name_keys_readably(model: nn.Module) -> None:
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if not isinstance(child, nn.ModuleDict) or type(child) is not nn.ModuleDict:
                continue
            words = {identifier(key) for key in child}
            if any(map(keyword.iskeyword, child)) and len(words) == len(child):
                setattr(part, name, ReadableKeys(child).train(child.training))


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
    """Whether Python says that `graph`, or a container in it, cannot do something: "'Module' has no len()"."""
    if isinstance(error, AttributeError):
        return any(error.obj is part for part in graph.modules())
    containers = {type(part) for part in graph.modules() if type(part) is nn.Module}
    return any(f" '{kind.__name__}' " in f" {error} " for kind in (type(graph), *containers))


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
        self.outside = Outside()

    def visit(self, module: nn.Module, path: str) -> nn.Module:
        """What stands in the place of `module` from now on: a graph, or itself with graphs in it."""
        if module in self.done:
            return self.done[module]
        self.done[module] = found = self._graph(module, path) or module
        if found is module:
            self._visit_children(module, path)
        return found

    def _visit_children(self, module: nn.Module, path: str) -> None:
        self.outside.add(module)
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
        if path and (reason := self._refusal(module, call)):
            self.leaves.append(FloatLeaf(path, reason))
            return None
        leaves: tuple[FloatLeaf, ...] = ()
        try:
            if path and _is_layer(module):
                graph_module = _calling(module, call, self._constants(module, call))
            else:
                graph_module, leaves = trace(module, call.arguments if call is not None else None)
        except UntraceableError as error:
            self.leaves.append(FloatLeaf(path, str(error).replace("the model's own forward does", "does", 1)))
            return None
        for hooked in graph_module.meta.get("hooked", ()):  # what they do stands in the graph
            layer = graph_module.get_submodule(hooked)
            layer._forward_hooks.clear()
            layer._forward_pre_hooks.clear()
        if path and call is not None and call.form is not None:
            (output,) = graph_module.graph.find_nodes(op="output")
            if not gives_back(output.args[0], call.form):
                self.leaves.append(FloatLeaf(path, f"returns a {call.form.kind.__name__} that no graph can give back"))
                return None
            traced_for = {} if _is_layer(module) else call.arguments
            set_boundary(graph_module.graph, traced_for, call.form, path, graph_module.meta.get("asked", ()))
            graph_module.recompile()
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
        self._describe_layers(module, graph_module)
        for leaf in leaves:
            self.leaves.append(replace(leaf, path=f"{path}.{leaf.path}" if path else leaf.path))
            self._visit_children(graph_module.get_submodule(leaf.path), self.leaves[-1].path)
        return graph_module

    def _constants(self, layer: nn.Module, call: Call | None) -> dict[str, Any]:
        """The arguments of a layer that are one and the same in every branch of the code outside."""
        settings = call.settings if call is not None else {}
        return {name: value for name, value in settings.items() if self.outside.always_gives(layer, name, value)}

    def _refusal(self, module: nn.Module, call: Call | None) -> str:
        """Why no graph can stand for a module in code that does not trace; empty where one can.

        That code has other branches than the one that was seen, and whatever they do with the module must hold too.
        """
        settings = call.settings if call is not None and not _is_layer(module) else {}
        settings = {name: v for name, v in settings.items() if not self.outside.always_gives(module, name, v)}
        if settings:
            given = ", ".join(f"{name}={_in_short(value)}" for name, value in settings.items())
            return f"is called with {given} by code that does not trace, where another branch may pass another value"
        if call is not None and (names := self.outside.other_call(module, call)):
            return f"is called with {names} in one branch of code that does not trace, and not in another"
        if call is not None and call.form is not None and (problem := call.form.problem()):
            return problem
        if name := self.outside.written(module):
            return f"has its {name} set by code that does not trace"
        called = {id(part) for part in module.modules() if part in self.calls and _is_layer(part)}
        for part, read in self.outside.reads_of(module):
            if read.takes_values and _is_layer(part):
                return "its weights are read by code that does not trace"
            if part is not module and (read.is_called or not read.place.names or id(part) not in called):
                return "a module in it is used by code that does not trace"
        return ""

    def _describe_layers(self, module: nn.Module, graph_module: fx.GraphModule) -> None:
        """Leave a description of each layer that code outside asks for its settings, or its weights for their type."""
        asked = {part: None for part, _ in self.outside.reads_of(module) if _is_layer(part)}
        for layer in asked:
            if layer is module:
                describe(layer, graph_module)
            else:
                leave_described(graph_module, layer)
        graph_module.recompile()


def keep_attributes(module: nn.Module, graph_module: nn.Module) -> None:
    """Give a graph, or a copy of one, the plain attributes of its module: code around it may ask for them."""
    for name, value in vars(module).items():
        # a forward that was set on the instance is what was traced
        if name not in vars(graph_module) and not name.startswith("_") and name != "forward":
            setattr(graph_module, name, value)
    if isinstance(graph_module, fx.GraphModule):
        keep_descriptions(descriptions(module), graph_module)


def copied(module: nn.Module, copying: Callable[[nn.Module], nn.Module] = copy.deepcopy) -> nn.Module:
    """A copy of a model, its graphs with what code around them may ask for: a copy of a graph alone loses that."""
    copy_of, originals = copying(module), graphs_in(module)
    for path, graph in graphs_in(copy_of).items():
        keep_attributes(originals[path], graph)
    return copy_of


def _in_short(value: Any) -> str:
    """A value as a reason names it: a flag or number itself, anything else by its type."""
    return repr(value) if isinstance(value, (bool, int, float, str, type(None))) else f"a {type(value).__name__}"


def _has_weights(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters())


def _is_layer(module: nn.Module) -> bool:
    """Whether a module is one operation to a tracer, which would record what happens inside of it."""
    return fx.Tracer().is_leaf_module(module, "")


def _calling(layer: nn.Module, call: Call | None, constants: Mapping[str, Any]) -> fx.GraphModule:
    """A graph that calls one layer and nothing else, and takes what the layer is called with, flags included.

    `constants` are arguments that no call gives another value.
    """
    graph, word = fx.Graph(), class_word(type(layer))
    parameters = inspect.signature(layer.forward).parameters
    given = call.arguments if call is not None else {n: None for n, p in parameters.items() if p.default is p.empty}
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name not in given:
            continue
        kind = _type_of(layer, parameter, given[name]) if call is not None else None
        default = inspect.Signature.empty if kind is None else parameter.default
        value: Any = graph.placeholder(name, kind, default)
        value = constants.get(name, value)
        if len(args) < list(parameters).index(name):  # one before it is left out
            kwargs[name] = value
        else:
            args.append(value)
    result = graph.call_module(word, tuple(args), kwargs)
    graph.output(result if call is None else _taken_apart(graph, result, call, constants))
    for node in graph.nodes:
        node.meta["scope"] = ""
    graph_module = fx.GraphModule({word: layer}, graph, type(layer).__name__)
    graph_module.meta.update(constants={}, classes={"": nn.Module, word: type(layer)}, fixed=())
    return graph_module


def _taken_apart(graph: fx.Graph, result: fx.Node, call: Call, constants: Mapping[str, Any]) -> Any:
    """The members of a tuple that a layer returns; None for one that is None, whatever the tensors are."""
    kinds = (
        [member.kind for _, member in call.form.members] if call.form is not None and call.form.kind is tuple else []
    )
    if not kinds or not {Tensor, type(None)}.issuperset(kinds) or constants.keys() != call.settings.keys():
        return result
    members = [
        graph.call_function(operator.getitem, (result, at)) if kind is Tensor else None for at, kind in enumerate(kinds)
    ]
    return tuple(members)


def _type_of(layer: nn.Module, parameter: inspect.Parameter, given: Any) -> Any:
    """The type of a layer's argument, as TorchScript needs it said; None for a tensor, which it takes for granted."""
    if isinstance(given, Tensor):
        return None
    if parameter.annotation is not parameter.empty:
        return typing.get_type_hints(layer.forward).get(parameter.name, parameter.annotation)
    kind = Tensor if given is None else type_of(given)
    return kind if parameter.default is parameter.empty else kind | None


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
