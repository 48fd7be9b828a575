"""What torch.ao fuses in the rewritten graph, and the extra mappings its eager functions need for it.

cut_out_rows(graph_module)
chains = fusable_chains(graph_module)
torch.ao.quantization.fuse_modules(graph_module, chains, inplace=True, fuse_custom_config_dict=FUSE_CONFIG)
# prepare and calibrate as usual, then:
torch.ao.quantization.convert(graph_module, mapping=CONVERT_MAPPING, inplace=True)
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.ao.nn.intrinsic as nni
from torch import fx, nn
from torch.ao.quantization.fuser_method_mappings import fuse_conv_bn_relu
from torch.ao.quantization.quantization_mappings import get_default_static_quant_module_mappings

from rewrites.modules import (
    CappedFloatFunctional,
    CappedReLU,
    DividingFloatFunctional,
    LinearRows,
    PlainQFunctional,
    ScriptableBatchNorm2d,
    ScriptableBNReLU2d,
)
from rewrites.values import modules_read_inside, sole_user, submodule

Root = TypeVar("Root", bound=nn.Module)

_HEADS = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.Linear: nn.BatchNorm1d,
}
_TRANSPOSED = {
    nn.ConvTranspose1d: nn.BatchNorm1d,
    nn.ConvTranspose2d: nn.BatchNorm2d,
    nn.ConvTranspose3d: nn.BatchNorm3d,
}
_NORM_HEADS = (nn.BatchNorm2d, nn.BatchNorm3d)
_ACTIVATIONS = (nn.ReLU, CappedReLU)


def _capped(fuser: Callable[..., Any], is_qat: bool, *modules: nn.Module) -> nn.Module:
    """Fuse as with a ReLU, then put the capped activation where the ReLU went: it clamps until conversion."""
    *body, activation = modules
    fused: nn.Module = fuser(is_qat, *body, nn.ReLU().train(activation.training))
    fused[-1] = activation  # type: ignore[operator]
    return fused


def _transposed(is_qat: bool, conv: Any, norm: Any) -> nn.Module:
    """A transposed convolution with its batch norm folded in, for any number of groups; torch's own knows one only.

    Its weights are `[channels in, channels out / groups, ...]`: each group's inputs meet that group's outputs.
    """
    fused: Any = copy.deepcopy(conv)
    scale = torch.rsqrt(norm.running_var + norm.eps) * (1 if norm.weight is None else norm.weight)
    groups = scale.reshape(conv.groups, 1, -1, *(1 for _ in conv.weight.shape[2:]))
    weight = conv.weight.reshape(conv.groups, -1, *conv.weight.shape[1:]) * groups
    bias = torch.zeros_like(norm.running_mean) if conv.bias is None else conv.bias
    fused.weight = nn.Parameter(weight.reshape(conv.weight.shape).detach())
    shift = 0 if norm.bias is None else norm.bias
    fused.bias = nn.Parameter(((bias - norm.running_mean) * scale + shift).detach())
    return cast(nn.Module, fused)


def _pair(kind: type[nn.Module]) -> Callable[..., nn.Module]:
    return functools.partial(_capped, lambda is_qat, first, relu: kind(first, relu))


FUSE_CONFIG: dict[str, Any] = {
    "additional_fuser_method_mapping": {
        **{
            (head, norm, CappedReLU): functools.partial(_capped, fuse_conv_bn_relu)
            for head, norm in _HEADS.items()
            if head is not nn.Linear
        },
        **dict.fromkeys(_TRANSPOSED.items(), _transposed),
        (nn.Conv1d, CappedReLU): _pair(nni.ConvReLU1d),
        (nn.Conv2d, CappedReLU): _pair(nni.ConvReLU2d),
        (nn.Conv3d, CappedReLU): _pair(nni.ConvReLU3d),
        (nn.Linear, CappedReLU): _pair(nni.LinearReLU),
        (nn.BatchNorm2d, CappedReLU): _pair(nni.BNReLU2d),
        (nn.BatchNorm3d, CappedReLU): _pair(nni.BNReLU3d),
    }
}

CONVERT_MAPPING: dict[Callable[..., Any], Any] = {
    **get_default_static_quant_module_mappings(),
    nn.BatchNorm2d: ScriptableBatchNorm2d,
    nni.BNReLU2d: ScriptableBNReLU2d,
    CappedFloatFunctional: PlainQFunctional,
    DividingFloatFunctional: PlainQFunctional,
}


def own_fusers() -> dict[tuple[type, ...], Any]:
    """The patterns that torch.ao cannot fuse, or not for all settings, and what fuses them."""
    return cast(dict[tuple[type, ...], Any], FUSE_CONFIG["additional_fuser_method_mapping"])


def _follow(graph_module: fx.GraphModule, node: fx.Node, kinds: tuple[type[nn.Module], ...]) -> fx.Node | None:
    """The only reader of `node`, when it calls one of these classes on it."""
    user = sole_user(node)
    return user if user is not None and _fuses(submodule(graph_module, user), kinds) else None


def _fuses(module: nn.Module | None, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is of one of these classes; a batch norm without running statistics cannot be folded."""
    return type(module) in kinds and getattr(module, "running_mean", module) is not None


def _chain(graph_module: fx.GraphModule, head: fx.Node) -> list[fx.Node]:
    kind = type(submodule(graph_module, head))
    chain = [head]
    norm_kind = _HEADS.get(kind) or _TRANSPOSED.get(kind)  # type: ignore[arg-type]
    if norm_kind is not None and (norm := _follow(graph_module, head, (norm_kind,))) is not None:
        chain.append(norm)
    # fuse_modules has no (linear, bn, relu): the ReLU then stays an operation of its own.
    takes_activation = kind in _NORM_HEADS or (kind in _HEADS and not (kind is nn.Linear and len(chain) == 2))
    if takes_activation and (activation := _follow(graph_module, chain[-1], _ACTIVATIONS)) is not None:
        chain.append(activation)
    return chain


def fusable_nodes(graph_module: fx.GraphModule) -> list[list[fx.Node]]:
    """The chains of nodes (convolution, batch norm, activation) that run as one operation, heads in order.

    Each inner value has one reader, and each module is called once and read in no other way.
    """
    read = modules_read_inside(graph_module)
    calls: dict[int, int] = {}
    for node in graph_module.graph.nodes:
        if (module := submodule(graph_module, node)) is not None:
            calls[id(module)] = calls.get(id(module), 0) + 1
    chains, used = [], set()
    for node in graph_module.graph.nodes:
        if node in used or not _fuses(submodule(graph_module, node), (*_HEADS, *_TRANSPOSED, *_NORM_HEADS)):
            continue
        chain = _chain(graph_module, node)
        modules = [id(submodule(graph_module, n)) for n in chain]
        if len(chain) > 1 and read.isdisjoint(modules) and all(calls[module] == 1 for module in modules):
            chains.append(chain)
            used.update(chain)
    return chains


def fusable_chains(graph_module: fx.GraphModule) -> list[list[str]]:
    """`fusable_nodes` as module names, in the form `torch.ao.quantization.fuse_modules` takes."""
    return [[str(node.target) for node in chain] for chain in fusable_nodes(graph_module)]


def cut_out_rows(module: Root) -> Root:
    """Let each layer in `module` that is some rows of a shared weight be a layer of its own, in place; returns it.

    For when no checkpoint will be loaded any more: observers and int8 weights belong to layers of their own.
    """
    plain = {id(part): part.cut_out() for part in module.modules() if isinstance(part, LinearRows)}
    for holder in list(module.modules()):
        for name, part in list(holder._modules.items()):
            if id(part) in plain:
                setattr(holder, name, plain[id(part)])
    return module


def weighted(module: nn.Module) -> Any:
    """The part of a fused layer that holds the weights, its head; any other module itself."""
    return module[0] if isinstance(module, nn.Sequential) else module
