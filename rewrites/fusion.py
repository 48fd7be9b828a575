"""What torch.ao fuses in the rewritten graph, and the extra mappings its eager functions need for it.

cut_out_rows(graph_module)
fold_norms_forward(graph_module)
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
from torch.ao.quantization.fuser_method_mappings import fuse_conv_bn, fuse_conv_bn_relu
from torch.ao.quantization.quantization_mappings import get_default_static_quant_module_mappings

from rewrites.channel_axis import Channels, moved, moved_or_averaged, rank_of
from rewrites.modules import (
    CappedFloatFunctional,
    CappedReLU,
    DividingFloatFunctional,
    LinearRows,
    PlainQFunctional,
    ScriptableBatchNorm2d,
    ScriptableBNReLU2d,
)
from rewrites.norm_folding import fold_into_linear, fold_into_next
from rewrites.readers import sole_reader, value_readers
from rewrites.values import modules_read_inside, submodule

Root = TypeVar("Root", bound=nn.Module)

CONVOLUTIONS = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# What a batch norm behind it is folded into.
HEADS = (*CONVOLUTIONS, *_TRANSPOSED, nn.Linear)
# What a batch norm in front of it is folded into.
NEXT = (*CONVOLUTIONS, nn.Linear, LinearRows, *NORMS)
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
            for head in CONVOLUTIONS
            for norm in NORMS
        },
        # of other dimensions than the layer's, behind a view; torch knows those of as many
        **{(head, norm): fuse_conv_bn for head, own in CONVOLUTIONS.items() for norm in NORMS if norm is not own},
        **{
            (head, norm, nn.ReLU): fuse_conv_bn_relu
            for head, own in CONVOLUTIONS.items()
            for norm in NORMS
            if norm is not own
        },
        **{
            (nn.Linear, norm, *activation): fold_into_linear
            for norm in NORMS
            for activation in ((), (nn.ReLU,), (CappedReLU,))
        },
        **{(head, norm): _transposed for head in _TRANSPOSED for norm in NORMS},
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


def keeps_statistics(module: nn.Module | None) -> bool:
    """Whether a module is a batch norm with running statistics: one without cannot be folded."""
    return type(module) in NORMS and getattr(module, "running_mean", None) is not None


def channels_behind(graph_module: fx.GraphModule, head: fx.Node) -> Channels | None:
    """Where the channels lie in what a convolution, linear layer or batch norm gives; None where nobody knows."""
    module: Any = submodule(graph_module, head)
    if isinstance(module, nn.Linear):
        rank = rank_of(graph_module, head)
        return None if rank is None else Channels(module.out_features, rank - 1, rank)
    if type(module) in NORMS:
        rank = rank_of(graph_module, head) or {nn.BatchNorm2d: 4, nn.BatchNorm3d: 5}.get(type(module), 3)
        return Channels(module.num_features, 1, rank)
    places = len(module.kernel_size)
    rank = rank_of(graph_module, head) or places + 2  # one image alone has no dimension in front of its channels
    return Channels(module.out_channels, rank - 1 - places, rank)


def _pads(conv: Any) -> bool:
    if isinstance(conv.padding, str):
        return conv.padding == "same" and set(conv.kernel_size) != {1}
    return any(conv.padding)


class Fusion:
    """Which operations of a graph run as one.

    `chains` are nodes (layer, batch norm, activation) that become one layer in the place of the first; `heads` has that
    first one for the others, and for what moves values between it and its batch norm. `forward` has for each batch norm
    that is folded into what reads it the layers, or the batch norm, that do.
    """

    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module = graph_module
        self.read = modules_read_inside(graph_module)
        self.calls: dict[int, int] = {}
        nodes = list(graph_module.graph.nodes)
        for node in nodes:
            if (module := submodule(graph_module, node)) is not None:
                self.calls[id(module)] = self.calls.get(id(module), 0) + 1
        norms = [node for node in nodes if self.is_own(node) and keeps_statistics(submodule(graph_module, node))]
        into = {norm: self._next(norm) for norm in norms}
        self.forward: dict[fx.Node, tuple[fx.Node, ...]] = {
            norm: found for norm, found in into.items() if len(found) == 1 and self._is(found[0], NORMS)
        }
        self.chains = self._chains(nodes)
        self.heads: dict[fx.Node, fx.Node] = {}
        for head, *others in self.chains:
            self.heads |= dict.fromkeys((*others, *self._between(head, others[0])), head)
        fused = {node for chain in self.chains for node in chain}
        # In running order: what is folded into a batch norm goes with it into what that one is folded into.
        self.forward = {
            norm: found for norm, found in into.items() if norm in self.forward or (found and norm not in fused)
        }

    def is_own(self, node: fx.Node) -> bool:
        """Whether the module a node calls is called there alone, and read in no other way."""
        module = submodule(self.graph_module, node)
        return module is not None and self.calls[id(module)] == 1 and id(module) not in self.read

    def _is(self, node: fx.Node, kinds: tuple[type[nn.Module], ...]) -> bool:
        return type(submodule(self.graph_module, node)) in kinds

    def _chains(self, nodes: list[fx.Node]) -> list[list[fx.Node]]:
        chains, used = list[list[fx.Node]](), set(self.forward)
        for node in nodes:
            is_head = self._is(node, HEADS) or (
                self._is(node, _NORM_HEADS) and keeps_statistics(submodule(self.graph_module, node))
            )
            if node in used or not is_head:
                continue
            chain = self._chain(node)
            if len(chain) > 1 and all(map(self.is_own, chain)):
                chains.append(chain)
                used.update(chain)
        return chains

    def _chain(self, head: fx.Node) -> list[fx.Node]:
        chain, module = [head], submodule(self.graph_module, head)
        if self._is(head, HEADS) and (norm := self._norm_behind(head)) is not None:
            chain.append(norm)
        if type(module) in (*CONVOLUTIONS, nn.Linear, *_NORM_HEADS):
            activation = sole_reader(chain[-1])
            if activation is not None and self._is(activation, _ACTIVATIONS):
                chain.append(activation)
        return chain

    def _norm_behind(self, head: fx.Node) -> fx.Node | None:
        """The batch norm that is the only one to read what a layer gives, of its channels, however they are moved."""
        channels, value = channels_behind(self.graph_module, head), head
        while channels is not None and (reader := sole_reader(value)) is not None:
            if self._is(reader, NORMS) and reader not in self.forward:
                norm: Any = submodule(self.graph_module, reader)
                fits = channels.axis == 1 and not channels.spread and norm.num_features == channels.count
                return reader if fits and keeps_statistics(norm) else None
            # one batch norm that is folded into the next leaves values where they are
            channels = channels if reader in self.forward else moved(self.graph_module, reader, channels)
            value = reader
        return None

    @staticmethod
    def _between(head: fx.Node, norm: fx.Node) -> list[fx.Node]:
        """What moves the values that a batch norm reads, behind the layer that it is folded into."""
        found, value = list[fx.Node](), norm.all_input_nodes[0]
        while value is not head:
            found.append(value)
            value = value.all_input_nodes[0]
        return found

    def _next(self, norm: fx.Node) -> tuple[fx.Node, ...]:
        """The layers, or the batch norm, that read what a batch norm gives, when it can be folded into all of them."""
        found, queue = list[fx.Node](), [(norm, channels_behind(self.graph_module, norm))]
        while queue:
            value, channels = queue.pop(0)
            readers = value_readers(value)
            if channels is None or not readers:
                return ()
            for reader in readers:
                if self._is(reader, NEXT):
                    if not self.is_own(reader) or self.hindrance(reader, channels):
                        return ()
                    found.append(reader)
                else:
                    queue.append((reader, moved_or_averaged(self.graph_module, reader, channels)))
        return tuple(found)

    def hindrance(self, layer: fx.Node, channels: Channels) -> str | None:
        """Why a batch norm cannot be folded into the layer that reads its channels; None where it can."""
        module: Any = submodule(self.graph_module, layer)
        if type(module) in NORMS:
            fits = keeps_statistics(module) and channels.axis == 1 and not channels.spread
            return None if fits else f"{layer.name} normalizes another dimension, or by statistics of its input"
        if type(module) in (nn.Linear, LinearRows):
            features = module.weight.shape[1]
            is_last = channels.axis == channels.rank - 1 and features % channels.count == 0
            is_whole = channels.spread or features == channels.count
            return None if is_last and is_whole else f"{layer.name} reads another dimension"
        if channels.axis != 1 or channels.spread or channels.rank != len(module.kernel_size) + 2:
            return f"{layer.name} reads another dimension"
        if module.padding_mode == "zeros" and _pads(module):
            return f"{layer.name}, which reads it, pads with zeros, in whose place its shift would have to stand"
        return None


def fusable_nodes(graph_module: fx.GraphModule) -> list[list[fx.Node]]:
    """The chains of nodes (convolution, batch norm, activation) that run as one operation, heads in order.

    The numbers of each inner value have one reader, and each module is called once and read in no other way.
    """
    return Fusion(graph_module).chains


def fold_norms_forward(graph_module: fx.GraphModule) -> dict[str, tuple[str, ...]]:
    """Fold each batch norm that the layers behind it can do the work of into those, in place; before chains are fused.

    Returns their paths. The parameters are new ones, whoever holds the old ones too.
    """
    folded = dict[str, tuple[str, ...]]()
    for norm, layers in Fusion(graph_module).forward.items():
        for layer in layers:
            fold_into_next(submodule(graph_module, norm), submodule(graph_module, layer))
        folded[str(norm.target)] = tuple(str(layer.target) for layer in layers)
        norm.replace_all_uses_with(norm.all_input_nodes[0])
        graph_module.graph.erase_node(norm)
        graph_module.delete_submodule(str(norm.target))
    if folded:
        graph_module.recompile()
    return folded


def fusable_chains(graph_module: fx.GraphModule) -> list[list[str]]:
    """`fusable_nodes` as module names, in the form `torch.ao.quantization.fuse_modules` takes."""
    return [[str(node.target) for node in chain] for chain in fusable_nodes(graph_module)]


def cut_out_rows(module: Root) -> Root:
    """Let each layer in `module` that is some rows of a shared weight be a layer of its own, in place; returns it.

    For when no checkpoint will be loaded any more: observers and int8 weights belong to layers of their own. A weight
    that is a constant, worked out of others or a buffer, is a parameter then as any other, and a batch norm without
    weight and bias gets those that change nothing, which kernels want.
    """
    plain = {id(part): part.cut_out() for part in module.modules() if isinstance(part, LinearRows)}
    for holder in list(module.modules()):
        for name, part in list(holder._modules.items()):
            if id(part) in plain:
                setattr(holder, name, plain[id(part)])
    owned: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name in ("weight", "bias") if type(part) in HEADS else ():
            if (constant := part._buffers.get(name)) is not None:
                delattr(part, name)  # and with it that no checkpoint has it: export believes that of a parameter, too
                part.register_parameter(name, owned.setdefault(id(constant), nn.Parameter(constant, False)))
        if isinstance(part, NORMS) and part.weight is None and part.running_mean is not None:
            part.weight = nn.Parameter(torch.ones_like(part.running_mean))
            part.bias = nn.Parameter(torch.zeros_like(part.running_mean))
    return module


def weighted(module: nn.Module) -> Any:
    """The part of a fused layer that holds the weights, its head; any other module itself."""
    return module[0] if isinstance(module, nn.Sequential) else module
