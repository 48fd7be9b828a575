"""F.linear(x, self.weight, self.bias)  ->  nn.Linear; layer and group norms alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.modules import bind
from rewrites.naming import class_word
from rewrites.values import attribute, module_scope, modules_called

_TENSORS = ("weight", "bias", "running_mean", "running_var")

# Each factory has the signature of the functions it stands for, without the input, so that Python itself binds the
# arguments. It makes a module whose parameters lie nowhere yet; those of the call take their places.


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    return nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")


def _layer_norm(normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> nn.Module:
    if bias is not None and weight is None:
        raise Refusal("a layer norm with a bias and no weight has no module")
    return nn.LayerNorm(normalized_shape, eps, weight is not None, bias is not None, device="meta")


def _group_norm(num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> nn.Module:
    if weight is None or bias is None:
        raise Refusal("a group norm without weight and bias does not say how many channels its module has")
    return nn.GroupNorm(num_groups, weight.shape[0], eps, device="meta")


def _batch_norm(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    rank: int,
) -> nn.Module:
    if training or running_mean is None or running_var is None:
        raise Refusal("a batch norm that takes its statistics from its input is not what its module does in eval mode")
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(rank)
    if kind is None:
        raise Refusal("a batch norm of an input whose rank is not known has no module")
    if (weight is None) != (bias is None):
        raise Refusal("a batch norm with one of weight and bias has no module")
    made = kind(len(running_mean), eps, momentum, affine=weight is not None, device="meta")
    made.num_batches_tracked = torch.tensor(0)  # torch looks for one, and makes it for a checkpoint that has none
    return made


FACTORIES: dict[Callable[..., Any], Callable[..., nn.Module]] = {
    F.linear: _linear,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
}


@dataclass(frozen=True)
class _Layer:
    """The module that says what a call does, the value it takes, and the nodes that read its tensors, by name."""

    module: nn.Module
    value: fx.Node
    reads: dict[str, fx.Node]


def _held(graph_module: fx.GraphModule, operand: Any, what: str) -> Tensor | None:
    """The parameter or buffer an operand reads; None when there is no operand. Raises `Refusal` for any other."""
    if operand is None:
        return None
    if isinstance(operand, fx.Node) and operand.op == "get_attr":
        held = attribute(graph_module, str(operand.target))
        if isinstance(held, Tensor):
            return held
    raise Refusal(f"its {what} is computed when the model runs; a module's is a parameter")


def _is_persistent(graph_module: fx.GraphModule, path: str) -> bool:
    holder, _, leaf = path.rpartition(".")
    return leaf not in graph_module.get_submodule(holder)._non_persistent_buffers_set


def _decide(graph_module: fx.GraphModule, node: fx.Node) -> _Layer | None:
    """The layer a call stands for; None when no factory knows it. Raises `Refusal` when it cannot be a module."""
    factory = FACTORIES.get(node.target) if node.op == "call_function" else None  # type: ignore[arg-type]
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
    if any(isinstance(leaf, fx.Node) for leaf in tree_leaves(list(given.values()))):
        raise Refusal("its settings are computed when the model runs; a module's are fixed")
    tensors = {name: _held(graph_module, operand, name) for name, operand in operands.items()}
    module = factory(**given, **tensors)
    for name, tensor in tensors.items():
        operand = operands[name]
        persistent = not isinstance(operand, fx.Node) or _is_persistent(graph_module, str(operand.target))
        bind(module, name, tensor, persistent)
    return _Layer(module, value, {name: read for name, read in operands.items() if isinstance(read, fx.Node)})


def _standing(graph_module: fx.GraphModule, layer: _Layer) -> str | None:
    """The path of a module of the model's own that is this very layer; None when there is none."""
    path = str(layer.reads["weight"].target).rpartition(".")[0] if "weight" in layer.reads else ""
    holder: Any = graph_module.get_submodule(path)
    same = (
        type(holder) is type(layer.module)
        and all(
            getattr(holder, name) is getattr(layer.module, name, None) for name in _TENSORS if hasattr(holder, name)
        )
        and holder.extra_repr() == layer.module.extra_repr()
    )
    return path if same else None


def _place(editor: Editor, node: fx.Node, layer: _Layer) -> str:
    """The path for a new module: that of a holder of nothing but these parameters, or a free one named after them.

    `qkv_weight` makes a `qkv`, `mlp.qkv_weight` an `mlp.qkv`; a `weight` of a module that does more makes a `linear`.
    """
    path = str(layer.reads["weight"].target) if "weight" in layer.reads else ""
    parent, _, leaf = path.rpartition(".")
    holder = editor.graph_module.get_submodule(parent)
    own = {str(read.target) for read in layer.reads.values()}
    held = {f"{parent}.{name}" for part in (holder._parameters, holder._buffers) for name in part}
    others = [n for n in editor.graph.nodes if module_scope(n) == parent and n not in (node, *layer.reads.values())]
    if parent and type(holder) is nn.Module and not holder._modules and held <= own and not others:
        return parent
    stem = leaf.removesuffix("weight").rstrip("_") or class_word(type(layer.module))
    return editor.free_path(module_scope(node), stem)


class FunctionalLayers(RewritePass):
    """Functional linear layers and norms on the model's own parameters become modules.

    What it does: `F.linear`, `F.layer_norm`, `F.group_norm` and `F.batch_norm` whose weights and statistics are
    parameters and buffers become the module that holds these very tensors: the model's own where it has one, a new one
    where it has not.

    Why: observers and quantized layers belong to modules; as functions they are float operations.

    Leaves alone: weights and settings computed when the model runs; a group norm without weight and bias; a batch norm
    that takes its statistics from its input.
    """

    name = "functional-layers"

    def run(self, editor: Editor) -> None:
        graph_module, held = editor.graph_module, list[str]()
        for node in editor.nodes():
            try:
                layer = _decide(graph_module, node)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            if layer is None:
                continue
            path = _standing(graph_module, layer)
            if path is None:
                path = _place(editor, node, layer)
                graph_module.add_submodule(path, layer.module.train(graph_module.training))
            reason = "observers and quantized layers belong to modules"
            editor.retarget(node, "call_module", path, (layer.value,), {}, reason)
            for operand in layer.reads.values():
                if not operand.users and not operand._erased:
                    editor.erase(operand, "the module holds it")
                    held.append(str(operand.target))
        called = modules_called(graph_module)
        for path in held:
            if id(graph_module.get_submodule(path.rpartition(".")[0])) not in called:
                editor.forget(path)

    @staticmethod
    def example() -> nn.Module:
        class Functional(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.randn(4, 8))

            def forward(self, x: Tensor) -> Tensor:
                return F.linear(x, self.weight)

        return Functional()
