"""Symbolic tracing that never gives up on the whole.

A module whose forward does not trace becomes a float leaf, called as it stands; the smallest such
module is chosen, and the line that stopped the tracer is kept as the reason. Unlike torch's own
tracer this one keeps `x += y` on tensors an in-place operation, so that another name for the same
tensor sees the change, as it does in eager mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

from rewrites.location import where
from rewrites.memory import AUGMENTED
from rewrites.modules import AddReLU, Arithmetic, CappedReLU, LinearRows, Wrapped

# Modules of the rewritten form, and torch's own, are operations; everything else is looked into.
_OWN_LEAVES = (Arithmetic, AddReLU, CappedReLU, LinearRows, Wrapped, QuantStub, DeQuantStub)


@dataclass(frozen=True)
class FloatLeaf:
    """A module that did not trace: its path, and the reason with the file and line that stopped it."""

    path: str
    reason: str


class UntraceableError(Exception):
    """Not even the outermost forward traces; the message says which line stopped it."""


class _InPlaceAttribute(fx.proxy.Attribute):
    """An attribute of a proxy, such as `x.T`, on which `+=` is recorded as `_InPlaceProxy` records it."""


class _InPlaceProxy(fx.Proxy):
    """A proxy on which `+=` and its kin are recorded as the in-place operations they are."""

    def __getattr__(self, name: str) -> fx.proxy.Attribute:
        return _InPlaceAttribute(self, name)


def _in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    def record(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return record


for _function in AUGMENTED:
    for _proxy in (_InPlaceProxy, _InPlaceAttribute):
        setattr(_proxy, f"__{_function.__name__}__", _in_place(_function))


class _Tracer(fx.Tracer):
    record_stack_traces = True

    def __init__(self, leaves: set[str]) -> None:
        super().__init__()
        self.leaves = leaves
        self.failed: str | None = None

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _InPlaceProxy(node, self)

    def create_proxy(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Proxy:
        if kind == "placeholder" and args and args[0] and not isinstance(args[0][0], torch.Tensor):
            # An optional argument keeps its default, as when the model is called with its inputs alone: a proxy
            # would be a tensor that is never there (`if mask is not None`).
            return args[0][0]
        if kind == "call_method" and target == "__setitem__":
            raise fx.proxy.TraceError("items are assigned in a tensor that does not come from the input")
        return super().create_proxy(kind, target, *args, **kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.leaves or isinstance(m, _OWN_LEAVES):
            return True
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            # The innermost call fails first, so the first path noted is the smallest module.
            self.failed = self.failed or self.path_of_module(m)
            raise


def _scope(node: fx.Node) -> str:
    """Path of the module whose forward made this node; for a call of a leaf, of the module that calls it."""
    paths = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    if node.op == "call_module":
        paths = paths[:-1]
    return paths[-1] if paths else ""


def _read_attributes_once(graph: fx.Graph) -> None:
    """One node for each parameter, buffer or constant, so that whoever reads it reads the same value."""
    first: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr" and first.setdefault(node.target, node) is not node:
            node.replace_all_uses_with(first[node.target])
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


def trace(model: nn.Module) -> tuple[fx.GraphModule, tuple[FloatLeaf, ...]]:
    """Trace `model` in eval mode into a GraphModule that shares its modules; the model itself is not changed.

    Returns the graph module and the modules that stayed whole. `graph_module.meta["classes"]` maps every module path
    of the original to its class. Raises `UntraceableError` when the outermost forward itself does not trace.
    """
    leaves: dict[str, FloatLeaf] = {}
    own, kept = set(dir(model)), set(model.state_dict())
    while True:
        tracer = _Tracer(set(leaves))
        try:
            graph = tracer.trace(model)
            break
        except Exception as error:
            reason = f"{where(error)}: {str(error).strip().splitlines()[0] if str(error) else type(error).__name__}"
            path = tracer.failed
            if not path or path in leaves:
                raise UntraceableError(f"the model's own forward does not trace: {reason}") from error
            leaves[path] = FloatLeaf(path, f"does not trace: {reason}")
    _read_attributes_once(graph)
    graph_module = fx.GraphModule(model, graph, type(model).__name__)
    _keep_out_of_checkpoints(graph_module, kept)
    graph_module.meta["constants"] = _made_in_forward(graph_module, own)
    graph_module.meta["classes"] = {path: type(module) for path, module in model.named_modules()}
    for node in graph.nodes:
        node.meta["scope"] = _scope(node)
        if isinstance(node.type, str):
            # `from __future__ import annotations` makes annotations text, which TorchScript could not look up
            # outside the model's file; without one it takes a value for a tensor.
            node.type = None
        if node.op == "call_module" and node.target in leaves:
            node.meta["float_reason"] = leaves[node.target].reason
    graph_module.recompile()
    return graph_module, tuple(leaves.values())
