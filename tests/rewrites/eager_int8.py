"""Float to int8 with torch.ao's eager functions alone, as a user of `rewrites` without fxconv does it."""

import copy
import functools
import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import (
    DeQuantStub,
    FixedQParamsObserver,
    MinMaxObserver,
    PerChannelMinMaxObserver,
    QConfig,
    convert,
    fuse_modules,
    prepare,
)

from rewrites.domains import assign
from rewrites.fusion import CONVERT_MAPPING, FUSE_CONFIG, cut_out_rows, fold_norms_forward, fusable_chains
from rewrites.modules import ScalarArithmetic, Wrapped
from rewrites.values import submodule

# Their output channels come second, and their kernels take one scale for all weights.
PER_TENSOR = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.PReLU)


def qconfig_for(module: nn.Module) -> QConfig:
    """Extremes of the output, and of the weights by channel."""
    activation = MinMaxObserver.with_args(dtype=torch.quint8)
    if isinstance(module, ScalarArithmetic):  # its int8 form carries the range along, nothing is observed
        activation = functools.partial(
            FixedQParamsObserver, scale=1.0, zero_point=0, dtype=torch.quint8, quant_min=0, quant_max=255
        )
    weight = PerChannelMinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_channel_symmetric)
    if isinstance(module, PER_TENSOR):
        weight = MinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)
    return QConfig(activation=activation, weight=weight)


def set_qconfig(module: nn.Module) -> None:
    """Mark one operation, and the FloatFunctional in it, for int8; a wrapped operator is quantized at its stubs."""
    parts = [module.quant, module.dequant] if isinstance(module, Wrapped) else [module, *module.children()]
    for part in parts:
        part.qconfig = qconfig_for(module)


def quantize_like(values: Tensor) -> Tensor:
    """`values` in 8 bits over their own range, in the memory layout they have."""
    low, high = min(values.min().item(), 0.0), max(values.max().item(), 0.0)
    scale = (high - low) / 255
    return torch.quantize_per_tensor(values, scale, round(-low / scale), torch.quint8)


def convert_operation(module: nn.Module, inputs: Sequence[Tensor]) -> nn.Module:
    """One operation in int8, calibrated on these float inputs; `Call` and `List` examples are looked into."""
    root = nn.Sequential()
    root.op = copy.deepcopy(module).eval()
    cut_out_rows(root)
    for part in root.modules():
        part.qconfig = None
    set_qconfig(getattr(root.op, "inner", root.op))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        prepare(root, inplace=True)
        root.op(*inputs)
        convert(root, mapping=CONVERT_MAPPING, inplace=True)
    return root.op


def convert_network(rewritten: fx.GraphModule, batches: Iterable[Sequence[Tensor]]) -> fx.GraphModule:
    """A whole rewritten network in int8, calibrated on these batches of inputs."""
    int8 = {node.name for node in assign(rewritten).int8}
    network = cut_out_rows(copy.deepcopy(rewritten))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        fold_norms_forward(network)
        if chains := fusable_chains(network):
            fuse_modules(network, chains, inplace=True, fuse_custom_config_dict=FUSE_CONFIG)
        for part in network.modules():
            part.qconfig = None
        for node in network.graph.nodes:
            module = submodule(network, node)
            if module is not None and (node.name in int8 or isinstance(module, DeQuantStub)):
                set_qconfig(module)
        prepare(network, inplace=True)
        for batch in batches:
            network(*(tensor.clone() for tensor in batch))
        convert(network, mapping=CONVERT_MAPPING, inplace=True)
    network.recompile()
    return network


def sqnr(wanted: Tensor, got: Tensor) -> float:
    """Signal to quantization noise in dB."""
    noise = (wanted.double() - got.double()).pow(2).mean().clamp_min(1e-30)
    return float(10 * torch.log10(wanted.double().pow(2).mean() / noise))
