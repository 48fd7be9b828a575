"""Weight scales under which every bias fits into the 32 bits the kernels add it in.

A kernel adds the bias as an integer, bias / (input scale * weight scale), to its sum of products. Where a channel's
weights are all zero or tiny and its bias is not (pruned networks, a batch norm whose weight is 0), the scale that suits
the weights makes that integer overflow, and the channel wraps around to anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import ObserverBase, QConfig

from fxconv.quantization.scales import source
from rewrites.fusion import weighted
from rewrites.values import submodule

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)

# Half of what an int32 holds. The other half is for the sum of products, at most 255 * 127 each: room for 33,000 of
# them when all weights are at their largest, and in a channel whose scale is raised this far they are small.
_LARGEST_BIAS = 2.0**30


def make_room_for_biases(observed: fx.GraphModule) -> None:
    """Give the weight observers of a calibrated module a smallest scale, a channel's own, from its bias.

    The scales of ordinary layers stay what they are: their biases are thousands of times smaller than that.
    """
    scales: dict[nn.Module, float] = {}
    for node in observed.graph.nodes:
        module = submodule(observed, node)
        if module is None or not isinstance(getattr(module, "qconfig", None), QConfig):
            continue
        if isinstance(weighted(module), _LAYERS) and (scale := _input_scale(observed, node)) is not None:
            # Called twice, a layer has one set of weights for both inputs: the finer one asks for more room.
            scales[module] = min(scale, scales.get(module, math.inf))
    for module, scale in scales.items():
        bias = weighted(module).bias
        if not isinstance(bias, Tensor):
            continue
        # In double precision: the product of two small scales must not be flushed to zero.
        floor = (bias.detach().double().abs() / (scale * _LARGEST_BIAS)).float()
        qconfig = module.qconfig
        assert isinstance(qconfig, QConfig)
        raised = QConfig(activation=qconfig.activation, weight=_at_least(floor, qconfig.weight))
        for part in (module, *module.children()):
            part.qconfig = raised


def _at_least(floor: Tensor, observer: Callable[[], ObserverBase]) -> Callable[[], ObserverBase]:
    """This weight observer with `floor` as its smallest scale, by channel or for the whole layer."""

    def raised() -> ObserverBase:
        made = observer()
        by_channel = made.qscheme in (torch.per_channel_symmetric, torch.per_channel_affine)
        # torch's own name for the smallest scale; one number, which broadcasts, unless told otherwise.
        assert isinstance(made.eps, Tensor)
        made.eps = torch.maximum(made.eps, floor if by_channel else floor.max())
        return made

    return raised


def _input_scale(observed: fx.GraphModule, node: fx.Node) -> float | None:
    """The scale of what `node` reads, from the nearest observer before it; None when there is none.

    Behind AddScalar it may be larger, for its kernel widens a range that the sum would leave: then there is room to
    spare.
    """
    given = source(observed, node.all_input_nodes[0])
    return None if given is None else (given.factor or 1.0) * float(given.observer.calculate_qparams()[0])
