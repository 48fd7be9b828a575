"""Cross-layer equalization: channels that use little of a range are scaled up, and down again in the next layer.

Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, 4.1: with W1, b1 divided and
W2 multiplied by s, channel by channel, relu(W1 x + b1) s W2 is what it was. Here every s is at most 1 and no channel
grows beyond the largest: the range of the activations stays, and small channels get more of its steps. With a scale for
each output channel the weights of the first layer do not mind, so what is weighed against each other are the channel's
activations and the weights that read it, as in Xiao et al. 2022, SmoothQuant, 3; with one scale for a whole layer it is
the weights of both, as in Nagel et al.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.ao.nn.intrinsic as nni
from torch import Tensor, fx, nn

from fxconv.config import WeightScheme
from rewrites.fusion import weighted
from rewrites.modules import CappedReLU, ChannelCappedReLU
from rewrites.parts import graphs_in, prefixed
from rewrites.values import calls_of, modules_read_inside, sole_user, submodule

_ALONE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_FUSED = (nni.ConvReLU1d, nni.ConvReLU2d, nni.ConvReLU3d, nni.LinearReLU)
# What hands channels on as they are: twice the input gives twice the output.
_BETWEEN = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
# No channel is made more than so many times as large: what is smaller still is noise.
_SMALLEST = 1 / 64
# With one scale a layer each pair changes the weights its neighbours are weighed by.
_ROUNDS = 3


@dataclass(frozen=True)
class Equalized:
    """Two layers by their paths, and what the channels between them are divided by, `[C]`, above 0 and at most 1.

    `cap` is the ReLU6's between them, None without one.
    """

    first: str
    second: str
    scales: Tensor
    cap: float | None

    @property
    def changed(self) -> int:
        """How many channels are scaled."""
        return int((self.scales < 1).sum())


class ChannelPeaks:
    """The largest magnitude of each channel that a layer gives, over all that a module runs on while this is entered.

    `peaks` has them by the path of the layer, `[C]`. Only layers that another one reads alone are watched.
    """

    def __init__(self, module: nn.Module) -> None:
        self.peaks: dict[str, Tensor] = {}
        self.watched = {first: module.get_submodule(first) for first, _ in pairs(module)}

    def __enter__(self) -> ChannelPeaks:
        self.hooks = [part.register_forward_hook(self._noting(path)) for path, part in self.watched.items()]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _noting(self, path: str) -> Any:
        def note(module: nn.Module, _: Any, output: Tensor) -> None:
            layer = weighted(module)
            channel = output.ndim - 1 - (0 if isinstance(layer, nn.Linear) else layer.weight.ndim - 2)
            others = [dim for dim in range(output.ndim) if dim != channel]
            # of a ReLU's output the largest value is the largest magnitude, and half the work
            found = output.amax(others) if _has_relu(module) else output.abs().amax(others)
            self.peaks[path] = torch.maximum(self.peaks[path], found) if path in self.peaks else found

        return note


def pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """The paths of two layers in a fused module of which the second is all that reads the first, in running order.

    Between them there may be a ReLU, fused with the first, pooling, and a flattening of one value a channel. Both have
    weights of their own and run once.
    """
    shared = _shared_weights(module)
    for place, graph in graphs_in(module).items():
        read = modules_read_inside(graph)
        for node in graph.graph.nodes:
            part = submodule(graph, node)
            if part is None or not _is_own(graph, node, part, read, shared):
                continue
            reader = _reader(graph, node)
            other = submodule(graph, reader) if reader is not None else None
            if reader is None or other is None or not _is_own(graph, reader, other, read, shared):
                continue
            if _channels_in(weighted(other)) == weighted(part).weight.shape[0]:
                yield prefixed(place, str(node.target)), prefixed(place, str(reader.target))


def _is_own(graph: fx.GraphModule, node: fx.Node, part: nn.Module, read: set[int], shared: set[int]) -> bool:
    """Whether a node calls a layer that may be changed: called once, and its weights nobody else's."""
    if type(part) not in (*_ALONE, *_FUSED) or len(calls_of(graph, node)) > 1:
        return False
    layer = weighted(part)
    is_read = bool(read & {id(part), id(layer)})
    return not is_read and id(layer.weight) not in shared and id(layer.bias) not in shared


def _shared_weights(module: nn.Module) -> set[int]:
    """Identities of the parameters that several modules hold."""
    seen, twice = set[int](), set[int]()
    for part in module.modules():
        for parameter in part._parameters.values():
            if parameter is not None:
                (twice if id(parameter) in seen else seen).add(id(parameter))
    return twice


def _reader(graph: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The only node that computes with what `node` gives."""
    user = sole_user(node)
    while user is not None:
        is_flat = user.target in (torch.flatten, "flatten") or isinstance(submodule(graph, user), nn.Flatten)
        if not is_flat and not isinstance(submodule(graph, user), _BETWEEN):
            return user
        user = sole_user(user)
    return None


def _has_relu(part: nn.Module) -> bool:
    return isinstance(part, nn.Sequential)


def _cap(part: nn.Module) -> float | None:
    return part[1].cap if isinstance(part, nn.Sequential) and isinstance(part[1], CappedReLU) else None


def _channels_in(layer: Any) -> int:
    return int(layer.weight.shape[1] * getattr(layer, "groups", 1))


def _reading(layer: Any, each: Tensor) -> Tensor:
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
    """The scales for every pair of layers in a fused float module, which is left equalized with them.

    `peaks` are what `ChannelPeaks` found of the same module. A channel that reaches the cap of a ReLU6 stays as it is.
    """
    found, peaks = list[Equalized](), dict(peaks)
    for _ in range(_ROUNDS if scheme is WeightScheme.per_tensor else 1):
        for first, second in pairs(floating):
            if first not in peaks:
                continue  # calibration never reached it
            parts = floating.get_submodule(first), floating.get_submodule(second)
            scales = _scales(weighted(parts[0]), weighted(parts[1]), peaks[first], scheme)
            one = Equalized(first, second, scales, _cap(parts[0]))
            if one.changed:
                peaks[first] = peaks[first] / scales
                found.append(one)
                equalize(floating, [one])
    return tuple(found)


def _scales(first: Any, second: Any, peak: Tensor, scheme: WeightScheme) -> Tensor:
    """What to divide each channel by: at most 1, and no channel becomes larger than the largest."""
    largest = peak.max()
    if not largest > 0:
        return torch.ones_like(peak)
    least = (peak / largest).clamp(min=_SMALLEST)
    after = _weights_in(second)
    if scheme is WeightScheme.per_tensor:
        before = first.weight.detach().abs().flatten(1).amax(1)
        least = torch.maximum(least, before / before.max())
        wanted = (before / after.clamp(min=1e-12)).sqrt()
        wanted = wanted / wanted.max().clamp(min=1e-12)
    elif int(getattr(second, "groups", 1)) == second.weight.shape[0] == len(peak):
        wanted = least  # each channel has a weight scale of its own on either side
    else:
        wanted = (peak / largest * after.max() / after.clamp(min=1e-12)).sqrt()
    scales = torch.minimum(torch.maximum(wanted, least), torch.ones_like(peak))
    return torch.where((peak > 0) & (after > 0), scales, 1.0)


def equalize(floating: nn.Module, planned: Sequence[Equalized]) -> nn.Module:
    """Scale the layers of a fused float module as planned, in place; returns it. Parameters are replaced, not changed.

    A ReLU6 between two layers gets a cap for each channel, so that the function stays what it is for all inputs.
    """
    for one in planned:
        part = floating.get_submodule(one.first)
        layer, reader = weighted(part), weighted(floating.get_submodule(one.second))
        shape = [-1, *(1 for _ in layer.weight.shape[1:])]
        layer.weight = nn.Parameter(layer.weight.detach() / one.scales.view(shape), requires_grad=False)
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach() / one.scales, requires_grad=False)
        reader.weight = nn.Parameter(reader.weight.detach() * _reading(reader, one.scales), requires_grad=False)
        if one.cap is not None:
            own = part[1]  # type: ignore[index]
            caps = own.caps if isinstance(own, ChannelCappedReLU) else torch.full_like(one.scales, own.cap)
            part[1] = ChannelCappedReLU(caps / one.scales, one.cap)  # type: ignore[operator]
    return floating
