"""Bias absorption: what a channel always carries is taken off it, and added to the biases of the layers that read it.

Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, 4.1.3: a channel that never
falls below c behind its ReLU spends steps on the values from 0 to c, which none has. Here c is the least value that
calibration saw, not one guessed from a batch norm. What has no ReLU may be moved by any constant, as in Wei et al.
2023, Outlier Suppression+, 3: every channel is put around 0, so that all of them together take less of a range. Only
channels that are read without padding can be moved, for the zeros of padding are nobody's. Float computes the same for
all inputs; an int8 channel behind a ReLU stops at the c it was calibrated with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fxconv.quantization.recipes.channels import ChannelGroup, cap, channel_groups, has_relu
from fxconv.quantization.recipes.equalization import by_input
from rewrites.fusion import weighted
from rewrites.modules import ChannelReLU


@dataclass(frozen=True)
class Absorbed:
    """What is taken off each channel, `[C]`, of layers and of the values that other layers read, by their paths."""

    layers: Mapping[str, Tensor]
    readers: Mapping[str, Tensor]

    @property
    def changed(self) -> int:
        """How many channels of all layers are moved."""
        return sum(int((moved != 0).sum()) for moved in self.layers.values())

    def apply(self, floating: nn.Module) -> None:
        """Move the biases of a fused float module, in place. Parameters are replaced, not changed."""
        for path, moved in self.layers.items():
            part = floating.get_submodule(path)
            _add_to_bias(weighted(part), -moved)
            if isinstance(part, nn.Sequential):
                own = ChannelReLU.behind_layer(part[1], weighted(part).weight.detach())
                part[1] = own.bounded(own.floors - moved, own.caps - moved)
        for path, moved in self.readers.items():
            layer = weighted(floating.get_submodule(path))
            weight = layer.weight.detach().double()
            _add_to_bias(layer, (weight * by_input(layer, moved.double())).flatten(1).sum(1))


def _add_to_bias(layer: Any, added: Tensor) -> None:
    before = added.new_zeros(()) if layer.bias is None else layer.bias.detach()
    layer.bias = nn.Parameter((before + added).to(layer.weight.dtype), requires_grad=False)


def plan(
    floating: nn.Module, lows: Mapping[str, Tensor], highs: Mapping[str, Tensor]
) -> tuple[tuple[Absorbed, ...], dict[str, Tensor]]:
    """What to move in a fused float module, which is left as it is, and what that takes off each value, by its path.

    `lows` and `highs` are the extremes of each channel, `[C]`, of the values in its groups.
    """
    found, taken = list[Absorbed](), dict[str, Tensor]()
    for group in channel_groups(floating):
        if not group.keeps_constants or not lows.keys() >= set(group.values):
            continue
        if any(_is_constant(lows[path], highs[path]) for path in group.values):
            continue  # nothing would be left of it but rounding
        layers = _constants(floating, group, lows, highs)
        moved = _through_sums(group, layers)
        one = Absorbed(
            {path: value for path, value in layers.items() if value.any()},
            {reader: moved[value] for reader, value in group.readers.items() if moved[value].any()},
        )
        if one.changed:
            found.append(one)
            taken.update(moved)
    return tuple(found), taken


def _constants(
    floating: nn.Module, group: ChannelGroup, lows: Mapping[str, Tensor], highs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What to take off each channel of each layer.

    Behind a ReLU it is the least value. Without one it is what brings the middle of the channel, here and in all sums
    that it is part of, nearest to 0: the least squares of what is left.
    """
    parts = {path: floating.get_submodule(path) for path in group.layers}
    if any(has_relu(part) for part in parts.values()):
        return {path: _floor(part, lows[path], highs[path]) for path, part in parts.items()}
    units = dict(zip(group.layers, torch.eye(len(group.layers), dtype=torch.float64), strict=True))
    terms = _through_sums(group, units)
    middles = torch.stack([(lows[path] + highs[path]) / 2 for path in terms]).double()
    found = torch.linalg.lstsq(torch.stack(list(terms.values())), middles).solution
    return dict(zip(group.layers, found.to(lows[group.layers[0]].dtype), strict=True))


def _is_constant(low: Tensor, high: Tensor) -> bool:
    """Whether a value varies by less than a step of the range it takes."""
    largest = torch.maximum(low.abs(), high.abs()).max()
    return bool((high - low).max() < largest / 256)


def _floor(part: nn.Module, low: Tensor, high: Tensor) -> Tensor:
    if not has_relu(part):
        return torch.zeros_like(low)
    own = cap(part)
    # at the cap of a ReLU6 a channel is clamped by the end of the range, which is the same for all
    return low.clamp(min=0) if own is None else torch.where(high < own, low.clamp(min=0), 0.0)


def _through_sums(group: ChannelGroup, layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is taken off the layers' outputs and, with them, off their sums."""
    moved, left = dict(layers), dict(group.sums)
    while left:
        ready = {path: terms for path, terms in left.items() if moved.keys() >= set(terms)}
        moved.update({path: moved[a] + moved[b] for path, (a, b) in ready.items()})
        left = {path: terms for path, terms in left.items() if path not in ready}
    return moved
