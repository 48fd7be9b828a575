"""Calls of functions with weights of the model's own, and the layers they are: shared by the passes that make these."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from rewrites.base import Refusal
from rewrites.edits import Editor
from rewrites.memory import changes_touching
from rewrites.modules import bind
from rewrites.passes.fold_constants import random_nodes
from rewrites.values import attribute, callee, is_tensor, module_scope, modules_called

_TENSORS = ("weight", "bias", "running_mean", "running_var")

# A factory has the signature of the function it stands for, without the input, so that Python itself binds the
# arguments. It makes a module whose parameters lie nowhere yet; those of the call take their places.
Factories = Mapping[Callable[..., Any], Callable[..., nn.Module]]


@dataclass(frozen=True)
class _Layer:
    """The module that says what a call does, the value it takes, and the nodes that read its tensors, by name."""

    module: nn.Module
    value: fx.Node
    reads: dict[str, fx.Node]

    @property
    def key(self) -> tuple[Any, ...]:
        """Two calls of one key are two calls of one layer."""
        tensors = tuple(id(getattr(self.module, name, None)) for name in _TENSORS)
        return (type(self.module), self.module.extra_repr(), *tensors)


def changed_tensors(graph_module: fx.GraphModule) -> set[int]:
    """Identities of the parameters and buffers that the forward writes into."""
    found, read = set[int](), {node for node in graph_module.graph.nodes if node.op == "get_attr"}
    for _, shared in changes_touching(graph_module, read):
        found |= {id(attribute(graph_module, str(one.target))) for one in shared & read}
    return found


def _made_of(graph_module: fx.GraphModule, value: fx.Node) -> tuple[set[fx.Node], bool]:
    """What a tensor is computed from, through tensors alone; and whether a size of something has a part in it."""
    found, queue, by_size = {value}, [value], False
    while queue:
        for given in queue.pop().all_input_nodes:
            if not is_tensor(graph_module, given) and given.op != "placeholder":
                by_size = True
            elif given not in found:
                found.add(given)
                queue.append(given)
    return found, by_size


def _why_computed(graph_module: fx.GraphModule, value: fx.Node, what: str, changed: set[int]) -> str:
    """Why a tensor is not known before the model runs."""
    made_of, by_size = _made_of(graph_module, value)
    if any(node.op == "placeholder" for node in made_of):
        return f"its {what} is computed from the input"
    for node in made_of:
        if node.op == "get_attr" and id(attribute(graph_module, str(node.target))) in changed:
            return f"its {what} is made of {node.target}, which the forward changes"
    if not made_of.isdisjoint(random_nodes(graph_module)):
        return f"its {what} is made of random numbers"
    if by_size:
        return f"its {what} depends on the size of the input"
    return f"its {what} is computed when the model runs; a module's is a parameter"


def _held(graph_module: fx.GraphModule, operand: Any, what: str, changed: set[int]) -> Tensor | None:
    """The parameter or buffer an operand reads; None when there is no operand. Raises `Refusal` for any other."""
    if operand is None:
        return None
    if not isinstance(operand, fx.Node):
        raise Refusal(f"its {what} is no tensor of this graph")
    held = attribute(graph_module, str(operand.target)) if operand.op == "get_attr" else None
    if not isinstance(held, Tensor) or id(held) in changed:
        raise Refusal(_why_computed(graph_module, operand, what, changed))
    return held


def _is_persistent(graph_module: fx.GraphModule, path: str) -> bool:
    holder, _, leaf = path.rpartition(".")
    owner = graph_module.get_submodule(holder)
    return leaf not in owner._non_persistent_buffers_set


def _decide(graph_module: fx.GraphModule, node: fx.Node, factories: Factories, changed: set[int]) -> _Layer | None:
    """The layer a call stands for; None when no factory knows it. Raises `Refusal` when it cannot be a module."""
    factory = factories.get(callee(graph_module, node)) if node.op == "call_function" else None  # type: ignore[arg-type]
    if factory is None:
        return None
    kwargs = dict(node.kwargs)
    value, settings = (node.args[0], node.args[1:]) if node.args else (kwargs.pop("input", None), ())
    if not isinstance(value, fx.Node):
        raise Refusal("its input is not a tensor of this graph")
    signature = inspect.signature(factory)
    if "rank" in signature.parameters:
        kwargs["rank"] = len(value.meta.get("shape", ()))
    given = signature.bind(*settings, **kwargs).arguments
    operands = {name: given.pop(name, None) for name in _TENSORS if name in signature.parameters}
    tensors = {name: _held(graph_module, operand, name, changed) for name, operand in operands.items()}
    if any(isinstance(leaf, fx.Node) for leaf in tree_leaves(list(given.values()))):
        raise Refusal("its settings are computed when the model runs; a module's are fixed")
    module = factory(**given, **tensors)
    for name, tensor in tensors.items():
        operand = operands[name]
        persistent = not isinstance(operand, fx.Node) or _is_persistent(graph_module, str(operand.target))
        bind(module, name, tensor, persistent)
    return _Layer(module, value, {name: read for name, read in operands.items() if isinstance(read, fx.Node)})


def check_type(weight: Tensor) -> None:
    """Raises `Refusal` for a weight that no int8 layer is made of."""
    if weight.dtype is not torch.float32:
        raise Refusal(f"its weight is {weight.dtype}; int8 layers are made of float32")


def _parent(layer: _Layer) -> str:
    return str(layer.reads["weight"].target).rpartition(".")[0] if "weight" in layer.reads else ""


def _standing(graph_module: fx.GraphModule, layer: _Layer) -> str | None:
    """The path of a module of the model's own that is this very layer; None when there is none."""
    path = _parent(layer)
    holder: Any = graph_module.get_submodule(path)
    same = (
        type(holder) is type(layer.module)
        and all(
            getattr(holder, name) is getattr(layer.module, name, None) for name in _TENSORS if hasattr(holder, name)
        )
        and holder.extra_repr() == layer.module.extra_repr()
    )
    return path if same else None


def _holder(editor: Editor, layer: _Layer, calls: set[fx.Node]) -> str | None:
    """The path of what holds nothing but tensors of this layer and does nothing but call it; None for want of one."""
    own = {str(read.target) for read in layer.reads.values()}
    for parent in dict.fromkeys(path.rpartition(".")[0] for path in sorted(own)):
        holder = editor.graph_module.get_submodule(parent)
        held = {f"{parent}.{name}" for part in (holder._parameters, holder._buffers) for name in part}
        others = [
            n for n in editor.graph.nodes if module_scope(n) == parent and n not in (*calls, *layer.reads.values())
        ]
        if parent and type(holder) is nn.Module and not holder._modules and held <= own and not others:
            return parent
    return None


def make_layers(editor: Editor, factories: Factories, reason: str, stem: Callable[[str, type[nn.Module]], str]) -> None:
    """Let the calls of these functions call modules that hold the tensors they were given.

    Calls with the same tensors and settings call one module, as two calls of a module do. A layer goes where the model
    has it, or in place of what held its tensors and nothing else; `stem` names any other, from what its weight is
    called and its class.
    """
    graph_module, changed = editor.graph_module, changed_tensors(editor.graph_module)
    layers: dict[fx.Node, _Layer] = {}
    for node in editor.nodes():
        try:
            layer = _decide(graph_module, node, factories, changed)
        except Refusal as refusal:
            editor.skip(node, str(refusal))
            editor.keep_float(node, str(refusal))
            continue
        if layer is not None:
            layers[node] = layer
    calls: dict[tuple[Any, ...], set[fx.Node]] = {}
    for node, layer in layers.items():
        calls.setdefault(layer.key, set()).add(node)
    made, held = dict[tuple[Any, ...], str](), list[str]()
    for node, layer in layers.items():
        editor.current = node
        path = _standing(graph_module, layer) or made.get(layer.key)
        if path is None:
            path = _holder(editor, layer, calls[layer.key])
            if path is not None:
                for call in calls[layer.key]:
                    call.meta["scope"] = path.rpartition(".")[0]
            else:
                leaf = str(layer.reads["weight"].target).rpartition(".")[2] if "weight" in layer.reads else ""
                path = editor.free_path(module_scope(node), stem(leaf, type(layer.module)))
            graph_module.add_submodule(path, layer.module.train(graph_module.training))
            if "running_mean" not in layer.reads:  # a norm is folded into one layer
                made[layer.key] = path
        editor.retarget(node, "call_module", path, (layer.value,), {}, reason)
        for operand in layer.reads.values():
            if not operand.users and not operand._erased:
                editor.erase(operand, "the module holds it")
                held.append(str(operand.target))
    called = modules_called(graph_module)
    for path in held:
        if id(graph_module.get_submodule(path.rpartition(".")[0])) not in called:
            editor.forget(path)
