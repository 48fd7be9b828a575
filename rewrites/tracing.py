"""Symbolic tracing that never gives up on the whole.

Every recorded value carries its shape or number, as far as an example input tells it, so that a forward may ask for
ranks and sizes, loop over a list and assert what it expects. What depends on the numbers in a tensor is not followed:
the smallest module with such a forward becomes a float leaf, called as it stands, and the line that stopped the tracer
is kept as the reason. Unlike torch's own tracer this one keeps `x += y` on tensors an in-place operation, so that
another name for the same tensor sees the change, as it does in eager mode.
"""

from __future__ import annotations

import itertools
import keyword
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from rewrites.counts import counts_by_size
from rewrites.decisions import Decisions
from rewrites.frozen_norms import frozen_batch_norm
from rewrites.location import where
from rewrites.memory import AUGMENTED, only_gives_a_value
from rewrites.naming import identifier
from rewrites.proxies import (
    UNKNOWN,
)
from rewrites.recorder import holds_tensors
from rewrites.surroundings import forget_proxies, hidden_functions_looked_into, quiet, seen_through, unchanged
from rewrites.tracer import Calls, Tracer


@dataclass(frozen=True)
class FloatLeaf:
    """A module that did not trace: its path, and the reason with the file and line that stopped it.

    `place` is how the reason gives that file and line, "" where it gives none.
    """

    path: str
    reason: str
    place: str = ""


class UntraceableError(Exception):
    """Not even the outermost forward traces; the message says which line stopped it."""


def _scope(node: fx.Node) -> str:
    """Path of the module whose forward made this node; for a call of a leaf, of the module that calls it."""
    paths = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    if node.op == "call_module":
        paths = paths[:-1]
    return paths[-1] if paths else ""


def _read_attributes_once(graph: fx.Graph, made: Mapping[str, Any]) -> None:
    """One node for each parameter, buffer or constant, so that whoever reads it reads the same value.

    `made` are the tensors the forward made, by the name each has for every time it is read.
    """
    first: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        known = first.setdefault(id(made[node.target]) if node.target in made else node.target, node)
        if known is not node:
            node.replace_all_uses_with(known)
            graph.erase_node(node)


def _keep_out_of_checkpoints(graph_module: fx.GraphModule, kept: set[str]) -> None:
    """A GraphModule makes persistent buffers of all tensors its graph reads; only those that were stay so."""
    for path, _ in list(graph_module.named_buffers(remove_duplicate=False)):
        if path not in kept:
            holder, _, leaf = path.rpartition(".")
            graph_module.get_submodule(holder)._non_persistent_buffers_set.add(leaf)


def _made_in_forward(graph_module: fx.GraphModule, own: set[str]) -> dict[str, str]:
    """Paths of the tensors the forward made without any input, and a word for the memory each lies in."""
    paths = {str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"}
    return {
        path: hex(getattr(graph_module, path).untyped_storage().data_ptr())
        for path in sorted(paths)
        if path.startswith("_tensor_constant") and path not in own
    }


def _lies_in_order(value: Tensor) -> bool:
    """Whether a tensor lies in memory in the order of its dims, of which those of size 1 may have another size too."""
    steps = list(itertools.accumulate((max(size, 1) for size in reversed(value.shape[1:])), operator.mul, initial=1))
    return value.layout is torch.strided and list(value.stride()) == steps[::-1][: value.ndim]


def trace(model: nn.Module, example: Mapping[str, Any] | None = None) -> tuple[fx.GraphModule, tuple[FloatLeaf, ...]]:
    """Trace `model` in eval mode into a GraphModule that shares its modules; the model itself is not changed.

    `example` are arguments of its forward by name, of which the shapes count; without them nothing is known of any
    value. Returns the graph module and the modules that stayed whole. `graph_module.meta["classes"]` maps every module
    path of the original to its class, and `meta["fixed"]` lists the decisions taken for the example's sizes. As far as
    it is known, a node's `meta["shape"]` is the shape of its value, `meta["dtype"]` its type, `meta["members"]`
    how many tensors it holds, `meta["contiguous"]` whether it lies in memory in the order of its dims, and
    `meta["source"]` the file and line that called it, outside torch.
    Raises `UntraceableError` when the outermost forward itself does not trace.
    """
    with unchanged(model):
        return _trace(model, example)


def _trace(model: nn.Module, example: Mapping[str, Any] | None) -> tuple[fx.GraphModule, tuple[FloatLeaf, ...]]:
    leaves: dict[str, FloatLeaf] = {}
    own, kept = set(dir(model)), set(model.state_dict())
    held = (value for part in model.modules() for value in (*vars(part).values(), *part._buffers.values()))
    tensors = {id(value) for value in (*held, *model.parameters()) if isinstance(value, Tensor)}
    frozen = {part for part in model.modules() if frozen_batch_norm(part) is not None}
    while True:
        tracer = Tracer(Decisions(_trace.__code__), set(leaves), example, tensors, frozen)
        try:
            with (
                unchanged(model),
                hidden_functions_looked_into(tracer.looked_into),
                seen_through(model, tracer.decisions.told),
                quiet(),
                Calls(tracer),
            ):
                graph = tracer.trace(model)
                made = {name: value for name, value in vars(model).items() if name.startswith("_tensor_constant")}
            break
        except Exception as error:
            place = where(error)
            reason = f"{place}: {str(error).strip().splitlines()[0] if str(error) else type(error).__name__}"
            path = tracer.failed
            if not path or path in leaves:
                raise UntraceableError(f"the model's own forward does not trace: {reason}") from error
            leaves[path] = FloatLeaf(path, f"does not trace: {reason}", place)
        finally:
            if tracer.has_hashed:
                forget_proxies()
    vars(model).update(made)
    _read_attributes_once(graph, made)
    graph._tracer_cls = None  # a graph read back from a file is traced by torch's own
    with _readable(model, graph) as word:
        reads = tracer.decisions.by_buffers(fx.GraphModule(model, graph)) if tracer.decisions.has_read else ()
        _drop_unread(fx.GraphModule(model, graph))  # in one that has all modules; the next has those that are called
        graph_module = fx.GraphModule(model, graph, identifier(type(model).__name__))
    leaves = {word(path): replace(leaf, path=word(path)) for path, leaf in leaves.items()}
    _keep_out_of_checkpoints(graph_module, {word(path) for path in kept})
    graph_module.meta["constants"] = _made_in_forward(graph_module, own)
    graph_module.meta["classes"] = {path: type(module) for path, module in model.named_modules()}
    graph_module.meta["fixed"] = tuple(
        dict.fromkeys((*tracer.decisions.by_sizes(), *counts_by_size(graph_module, tracer.decisions.counts)))
    )
    graph_module.meta["reads"] = reads
    graph_module.meta["asked"] = frozenset(tracer.asked)
    graph_module.meta["hooked"] = tuple(map(word, tracer.hooked))
    for node in graph.nodes:
        node.meta["scope"] = _scope(node)
        for name in _WHILE_TRACING:
            node.meta.pop(name, None)
        value = node.meta.pop("value", None)
        if isinstance(value, Tensor):
            node.meta["shape"] = tuple(value.shape)
            node.meta["dtype"] = value.dtype
            node.meta["contiguous"] = _lies_in_order(value)
        elif isinstance(value, (tuple, list)) and value and all(isinstance(member, Tensor) for member in value):
            node.meta["members"] = len(value)
        if isinstance(node.type, str) or node.op == "output":
            # `from __future__ import annotations` makes annotations text, which TorchScript could not look up
            # outside the model's file; without one it takes a value for a tensor. What is returned in eval mode need
            # not be what the annotation says.
            node.type = None
        if node.op == "call_module" and node.target in leaves:
            node.meta["float_reason"] = leaves[node.target].reason
    graph_module.recompile()
    return graph_module, tuple(leaves.values())


# What the tracer notes of a node for itself.
_WHILE_TRACING = ("given", "by_size", "by_batch", "by_buffer")


@contextmanager
def _readable(model: nn.Module, graph: fx.Graph) -> Iterator[Callable[[str], str]]:
    """A model whose modules and tensors have names that code can be written with, and the word for a path.

    What is called `for` or `None`, a key of a ModuleDict as a rule, is called `for_` and `None_` in the graph, and what
    the model itself calls `code` or `graph` is `code_` and `graph_`: a GraphModule has its own. The model has its own
    names back afterwards.
    """
    parts = [(names, part is model) for part in model.modules() for names in _held_by(part)]
    odd = [(names, is_root) for names, is_root in parts if any(_is_odd(name, is_root) for name in names)]
    before: list[dict[str, Any]] = [dict(names) for names, _ in odd]
    taken, words = {name for names, _ in parts for name in names}, dict[str, str]()
    for name in sorted({name for names, is_root in odd for name in names if _is_odd(name, is_root)}):
        words[name] = next(new for count in itertools.count(1) if (new := name + "_" * count) not in taken)

    def renamed(name: str, is_root: bool) -> str:
        return words[name] if _is_odd(name, is_root) and name in words else name

    def word(path: str) -> str:
        return ".".join(renamed(name, depth == 0) for depth, name in enumerate(path.split(".")))

    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            node.target = word(str(node.target))
    try:
        for (names, is_root), own in zip(odd, before, strict=True):
            names.clear()
            names.update({renamed(name, is_root): value for name, value in own.items()})
        yield word
    finally:
        for (names, _), own in zip(odd, before, strict=True):
            names.clear()
            names.update(own)


# What a GraphModule has beside what each module has: no parameter, buffer or module of its own can be called so.
_OWNED = frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph()))) - frozenset(dir(nn.Module()))


def _is_odd(name: str, is_root: bool) -> bool:
    return keyword.iskeyword(name) or (is_root and name in _OWNED)


def _held_by(module: nn.Module) -> tuple[dict[str, Any], ...]:
    return cast("tuple[dict[str, Any], ...]", (module._modules, module._parameters, module._buffers))


def _drop_unread(graph_module: fx.GraphModule) -> None:
    """Take out what nothing reads, and what only that has read.

    That is what Python asked for and decided by: what is only looked at has no reader, and what stands before it can be
    fused. And it is a branch that a model computes in vain, which would be rewritten, calibrated and held, while no
    file computes it: TorchScript drops it as well.
    """
    for node in reversed(list(graph_module.graph.nodes)):
        if node.users or node.op in ("placeholder", "output"):
            continue
        if _is_asked_alone(node) or only_gives_a_value(graph_module, node):
            graph_module.graph.erase_node(node)


def _is_asked_alone(node: fx.Node) -> bool:
    """Whether a node gives a number, or anything else that nothing in the graph works with."""
    is_value = node.meta.get("given", True) and holds_tensors(node.meta.get("value", UNKNOWN))
    return not is_value and not _writes(node)


def _writes(node: fx.Node) -> bool:
    """Whether a node may do more than give a value."""
    name = str(getattr(node.target, "__name__", node.target))
    return (
        node.op == "call_module" or name.endswith("_") or node.target in (operator.setitem, torch._assert, *AUGMENTED)
    )
