"""Cross-layer equalization: channels that use little of a range are scaled up, and down again in the next layer.

Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, 4.1: with W1, b1 divided and
W2 multiplied by s, channel by channel, relu(W1 x + b1) s W2 is what it was. Here every s is at most 1 and no channel
grows beyond the largest: the range of the activations stays, and small channels get more of its steps. With a scale for
each output channel the weights of the first layer do not mind, so what is weighed against each other are the channel's
activations and the weights that read it, as in Xiao et al. 2022, SmoothQuant, 3; with one scale for a whole layer it is
the weights of both, as in Nagel et al. All layers that write to or read from a residual sum share the factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fxconv.config import WeightScheme
from fxconv.quantization.recipes.channels import ChannelGroup, cap, channel_groups, has_relu
from rewrites.fusion import weighted
from rewrites.modules import ChannelReLU

# No channel is made more than so many times as large: what is smaller still is noise.
_SMALLEST = 1 / 64
# With one scale a layer each group changes the weights its neighbours are weighed by.
_ROUNDS = 3


@dataclass(frozen=True)
class Equalized:
    """Layers by their paths: those that make channels, those that read them, and what each channel is divided by.

    `scales` are `[C]`, above 0 and at most 1. `caps` are those of the ReLU6 of layers that have one.
    """

    layers: tuple[str, ...]
    readers: tuple[str, ...]
    scales: Tensor
    caps: Mapping[str, float]

    @property
    def changed(self) -> int:
        """How many channels are scaled."""
        return int((self.scales < 1).sum())

    def apply(self, floating: nn.Module) -> None:
        """Scale the layers of a fused float module, in place. Parameters are replaced, not changed.

        A ReLU behind a layer gets bounds for each channel, so that the function stays what it is for all inputs.
        """
        for path in self.layers:
            part = floating.get_submodule(path)
            layer = weighted(part)
            shape = [-1, *(1 for _ in layer.weight.shape[1:])]
            layer.weight = nn.Parameter(layer.weight.detach() / self.scales.view(shape), requires_grad=False)
            if layer.bias is not None:
                layer.bias = nn.Parameter(layer.bias.detach() / self.scales, requires_grad=False)
            if path in self.caps or (isinstance(part, nn.Sequential) and isinstance(part[1], ChannelReLU)):
                own = ChannelReLU.behind_layer(part[1], layer.weight.detach())  # type: ignore[index]
                part[1] = own.bounded(own.floors / self.scales, own.caps / self.scales)  # type: ignore[operator]
        for path in self.readers:
            layer = weighted(floating.get_submodule(path))
            layer.weight = nn.Parameter(layer.weight.detach() * by_input(layer, self.scales), requires_grad=False)


def by_input(layer: Any, each: Tensor) -> Tensor:
    """A value for each input channel, in a shape that multiplies the weights `[out, in / groups, ...]`."""
    groups, out = int(getattr(layer, "groups", 1)), layer.weight.shape[0]
    rows = each.view(groups, 1, -1).expand(groups, out // groups, -1).reshape(out, -1)
    return rows.reshape(*rows.shape, *(1 for _ in layer.weight.shape[2:]))


def _weights_in(layer: Any) -> Tensor:
    """The largest weight that reads each input channel."""
    groups = int(getattr(layer, "groups", 1))
    largest = layer.weight.detach().abs().flatten(2).amax(2) if layer.weight.ndim > 2 else layer.weight.detach().abs()
    return largest.view(groups, -1, largest.shape[1]).amax(1).flatten()


def plan(floating: nn.Module, peaks: Mapping[str, Tensor], scheme: WeightScheme) -> tuple[Equalized, ...]:
    """The scales for every group of layers in a fused float module, which is left equalized with them.

    `peaks` are the largest magnitudes of each channel of the groups' values, by the paths of what gives them. A channel
    that reaches the cap of a ReLU6 stays as it is.
    """
    found, peaks = list[Equalized](), dict(peaks)
    for _ in range(_ROUNDS if scheme is WeightScheme.per_tensor else 1):
        for group in channel_groups(floating):
            if not peaks.keys() >= set(group.values):
                continue  # calibration never reached it
            scales = _scales(floating, group, peaks, scheme)
            parts = {path: floating.get_submodule(path) for path in group.layers}
            caps = {path: own for path, part in parts.items() if (own := cap(part)) is not None}
            one = Equalized(group.layers, tuple(group.readers), scales, caps)
            if one.changed:
                peaks.update({path: peaks[path] / scales for path in group.values})
                found.append(one)
                one.apply(floating)
    return tuple(found)


def _scales(floating: nn.Module, group: ChannelGroup, peaks: Mapping[str, Tensor], scheme: WeightScheme) -> Tensor:
    """What to divide each channel by: at most 1, and no channel becomes larger than the largest of its value."""
    layers = [weighted(floating.get_submodule(path)) for path in group.layers]
    readers = [weighted(floating.get_submodule(path)) for path in group.readers]
    used = _largest([peaks[path] for path in group.values])
    least = used.clamp(min=_SMALLEST)
    after = _largest([_weights_in(layer) for layer in readers])
    if scheme is WeightScheme.per_tensor:
        before = _largest([layer.weight.detach().abs().flatten(1).amax(1) for layer in layers])
        least = torch.maximum(least, before)
        wanted = (before / after.clamp(min=1e-12)).sqrt()
        wanted = wanted / wanted.max().clamp(min=1e-12)
    elif all(_is_depthwise(layer) for layer in readers) or _is_linear_sum(floating, group):
        # each channel has a weight scale of its own on either side; or several ranges gain by what one layer loses.
        # With a ReLU the ranges are more even, and readers lose more: 1.3 dB on a resnet18
        wanted = least
    else:
        wanted = (used / after.clamp(min=1e-12)).sqrt()
    scales = torch.minimum(torch.maximum(wanted, least), torch.ones_like(used))
    return torch.where((used > 0) & (after > 0), scales, 1.0)


def _largest(of: Sequence[Tensor]) -> Tensor:
    """The largest share of its own largest that any of these has, channel by channel."""
    return torch.stack([each / each.max().clamp(min=1e-12) for each in of]).amax(0)


def _is_linear_sum(floating: nn.Module, group: ChannelGroup) -> bool:
    return bool(group.sums) and not any(has_relu(floating.get_submodule(path)) for path in group.values)


def _is_depthwise(layer: Any) -> bool:
    return int(getattr(layer, "groups", 1)) == layer.weight.shape[0] > 1 == layer.weight.shape[1]
