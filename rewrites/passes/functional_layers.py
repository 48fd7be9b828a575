"""F.linear(x, weight, bias) with the model's own parameters  ->  nn.Linear; convolutions and norms alike."""

from __future__ import annotations

import inspect
import operator
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
from rewrites.values import attribute, module_scope

# Each factory has the signature of the functions it stands for, without the input, so that Python itself binds the
# arguments. It makes a module whose parameters lie nowhere yet; those of the call take their places.


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    return nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")


def _convolution(kind: Callable[..., nn.Module], transposed: bool = False) -> Callable[..., nn.Module]:
    def build(weight: Tensor, bias: Any, groups: int, **settings: Any) -> nn.Module:
        first, second = weight.shape[:2]
        channels = (first, second * groups) if transposed else (second * groups, first)
        return kind(
            *channels, tuple(weight.shape[2:]), groups=groups, bias=bias is not None, device="meta", **settings
        )

    def forward(
        weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> nn.Module:
        return build(weight, bias, groups, stride=stride, padding=padding, dilation=dilation)

    def backward(
        weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> nn.Module:  # fmt: skip
        settings = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
        return build(weight, bias, groups, **settings)

    return backward if transposed else forward


def _layer_norm(normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> nn.Module:
    if bias is not None and weight is None:
        raise Refusal("a layer norm with a bias and no weight has no module")
    return nn.LayerNorm(normalized_shape, eps, weight is not None, bias is not None, device="meta")


def _group_norm(num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> nn.Module:
    if weight is None or bias is None:
        raise Refusal("a group norm without weight and bias has no channels that a module could be made for")
    return nn.GroupNorm(num_groups, weight.shape[0], eps, device="meta")


FACTORIES: dict[Callable[..., Any], Callable[..., nn.Module]] = {
    F.linear: _linear,
    F.conv1d: _convolution(nn.Conv1d),
    F.conv2d: _convolution(nn.Conv2d),
    F.conv3d: _convolution(nn.Conv3d),
    F.conv_transpose1d: _convolution(nn.ConvTranspose1d, transposed=True),
    F.conv_transpose2d: _convolution(nn.ConvTranspose2d, transposed=True),
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
}


@dataclass(frozen=True)
class _Layer:
    """The module that says what a call does, the value it takes, and a bias that is added to what it gives."""

    module: nn.Module
    value: fx.Node
    weight: fx.Node | None
    bias: fx.Node | None
    added: fx.Node | None


def _held(graph_module: fx.GraphModule, operand: Any) -> Tensor | None:
    """The parameter or buffer an operand reads; None when there is no operand. Raises `Refusal` for any other."""
    if operand is None:
        return None
    if isinstance(operand, fx.Node) and operand.op == "get_attr":
        held = attribute(graph_module, str(operand.target))
        if isinstance(held, Tensor):
            return held
    raise Refusal("its weight is computed when the model runs; a module's is a parameter")


def _decide(graph_module: fx.GraphModule, node: fx.Node) -> _Layer | None:
    """The layer a call stands for; None when no factory knows it. Raises `Refusal` when it cannot be a module."""
    factory = FACTORIES.get(node.target) if node.op == "call_function" else None  # type: ignore[arg-type]
    if factory is None:
        return None
    kwargs = dict(node.kwargs)
    value, settings = (node.args[0], node.args[1:]) if node.args else (kwargs.pop("input", None), ())
    if not isinstance(value, fx.Node):
        raise Refusal("its input is not a tensor of this graph")
    given = inspect.signature(factory).bind(*settings, **kwargs).arguments
    weight, bias, added = given.pop("weight", None), given.pop("bias", None), None
    if node.target is F.linear and isinstance(bias, fx.Node) and bias.op != "get_attr":
        bias, added = None, bias
    if any(isinstance(leaf, fx.Node) for leaf in tree_leaves(list(given.values()))):
        raise Refusal("its settings are computed when the model runs; a module's are fixed")
    tensors = {"weight": _held(graph_module, weight), "bias": _held(graph_module, bias)}
    module = factory(**given, **tensors)
    for name, tensor in tensors.items():
        bind(module, name, tensor)
    return _Layer(module, value, weight, bias, added)


def _standing(graph_module: fx.GraphModule, layer: _Layer) -> str | None:
    """The path of a module of the model's own that is this very layer; None when there is none."""
    path = str(layer.weight.target).rpartition(".")[0] if layer.weight is not None else ""
    holder: Any = graph_module.get_submodule(path)
    same = (
        type(holder) is type(layer.module)
        and holder.weight is layer.module.weight
        and holder.bias is layer.module.bias
        and holder.extra_repr() == layer.module.extra_repr()
    )
    return path if same else None


def _stem(node: fx.Node, layer: _Layer) -> str:
    """A name for the new module, from that of its weight: `qkv_weight` and `qkv.weight` both make a `qkv`."""
    word = class_word(type(layer.module))
    path = str(layer.weight.target) if layer.weight is not None else ""
    holder, _, leaf = path.rpartition(".")
    own = leaf.removesuffix("weight").rstrip("_")
    if own or holder in ("", module_scope(node)):
        return own or word
    return f"{holder.rpartition('.')[2]}_{word}"


class FunctionalLayers(RewritePass):
    """Functional layers on the model's own parameters become modules.

    What it does: `F.linear`, `F.conv2d` and the other convolutions, `F.layer_norm` and `F.group_norm` whose weights
    are parameters become the module that holds these very parameters: the model's own where it has one, a new one
    where it has not. A bias of `F.linear` that is computed is added behind it.

    Why: observers and quantized layers belong to modules; as functions they are float operations.

    Leaves alone: weights and settings computed when the model runs; functional batch norms, whose module depends on
    the number of dimensions. Declared tolerance: 1e-5 of the output's largest magnitude, because a bias that is added
    behind a layer rounds differently from one added in it.
    """

    name = "functional-layers"
    tolerance = 1e-5

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            try:
                layer = _decide(editor.graph_module, node)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            if layer is None:
                continue
            reason = "observers and quantized layers belong to modules"
            path = _standing(editor.graph_module, layer)
            if path is None:
                path = editor.free_path(module_scope(node), _stem(node, layer))
                editor.graph_module.add_submodule(path, layer.module.train(editor.graph_module.training))
            if layer.added is None:
                editor.retarget(node, "call_module", path, (layer.value,), {}, reason)
            else:
                name = path.replace(".", "_")
                linear = editor.insert_call(node, "call_module", path, (layer.value,), name, reason)
                reason = "a bias that is computed is no part of a module"
                editor.retarget(node, "call_function", operator.add, (linear, layer.added), {}, reason)
            for operand in (layer.weight, layer.bias):
                if operand is not None and not operand.users:
                    editor.erase(operand, "the module holds it")

    @staticmethod
    def example() -> nn.Module:
        class Functional(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.randn(4, 8, 1, 1))

            def forward(self, x: Tensor) -> Tensor:
                return F.conv2d(x, self.weight)

        return Functional()
