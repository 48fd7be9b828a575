"""Adaptive rounding: every weight goes to one of its two neighbouring steps, so that the layer's output changes least.

Nagel et al. 2020, Up or Down? Adaptive Rounding for Post-Training Quantization. Rounding to nearest is best for each
weight by itself; a layer adds the errors of many, and they may cancel. For a layer's inputs x the squared error of the
output is d' E[x x'] d with d the weights' errors (their eq. 15 to 17), so the inputs are needed as one matrix a layer,
and not image by image. Which way each weight goes is found by their continuous relaxation (eq. 22 to 25) and Adam.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import ObserverBase, QConfig
from torch.nn import functional

from fxconv.progress import Progress

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
# Inputs of one output, at most: the matrix has their square.
WIDEST = 8192
# Places of an image at which a convolution's inputs are noted, at most.
_PLACES = 128
# The paper's: the stretch of the sigmoid, the exponents of the term that drives every variable to 0 or 1, and the share
# of iterations before it begins. Its 10,000 iterations are for minibatches; the matrix has all inputs at once.
_LOW, _HIGH = -0.1, 1.1
_FROM, _TO, _WARM_UP = 20.0, 2.0, 0.2
# The weight of that term, for a layer of one input. Tried on layers of 9 to 960 inputs.
_STRENGTH = 0.2
ITERATIONS, _RATE = 200, 0.04
# Weights of one output that are turned over afterwards, at most.
_TURNS = 200
# Iterations between two notes of how far it is.
_SHOWN = 50


class InputGrams:
    """E[x x'] of the inputs of each layer in a module, over all that it is run on while this is entered.

    `grams` has them by the path of the layer: `[groups, K, K]`, float32, K the inputs of one output. Layers with a K
    above `WIDEST` are left out.
    """

    def __init__(self, module: nn.Module) -> None:
        layers = {path: part for path, part in module.named_modules() if type(part) in _LAYERS}
        self.layers = {path: layer for path, layer in layers.items() if _inputs(layer) <= WIDEST}
        self.sums: dict[nn.Module, Tensor] = {}
        self.counts: dict[nn.Module, int] = {}
        self.hooks: list[Any] = []

    def __enter__(self) -> InputGrams:
        self.hooks = [layer.register_forward_pre_hook(self._note, with_kwargs=True) for layer in self.layers.values()]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _note(self, layer: Any, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        given = (*args, *kwargs.values())[0].detach()
        if not given.numel():
            return
        rows = _rows(layer, given)  # [groups, places, K]
        self.sums[layer] = self.sums.get(layer, 0.0) + rows.transpose(1, 2) @ rows
        self.counts[layer] = self.counts.get(layer, 0) + rows.shape[1]

    @property
    def grams(self) -> dict[str, Tensor]:
        """Layers that were never called are left out."""
        return {
            path: self.sums[layer] / self.counts[layer] for path, layer in self.layers.items() if layer in self.sums
        }


def _inputs(layer: Any) -> int:
    """How many inputs an output of a layer has."""
    return math.prod(layer.weight.shape[1:])


def _rows(layer: Any, given: Tensor) -> Tensor:
    """What a layer multiplies its weights with, `[groups, places, K]`; of an image some places only, spread evenly."""
    if isinstance(layer, nn.Linear):
        return given.reshape(1, -1, given.shape[-1]).float()
    channels = layer.weight.ndim - 1  # dimensions from the channels on
    given = given.reshape(-1, *given.shape[-channels:]).float()
    if given.ndim == 3:  # a 1-D convolution is a 2-D one of height 1
        given = given[:, :, None]
    kernel, stride, dilation = ((1, *pair) if len(pair) == 1 else pair for pair in _sizes(layer))
    padded = functional.pad(given, _padding(layer), mode=_mode(layer))
    sizes = zip(padded.shape[2:], kernel, stride, dilation, strict=True)
    every = _every([(size - apart * (taps - 1) - 1) // step + 1 for size, taps, step, apart in sizes])
    stride = tuple(step * skipped for step, skipped in zip(stride, every, strict=True))
    patches = functional.unfold(padded, kernel, dilation=dilation, stride=stride)  # [N, channels * kernel, places]
    count, _, places = patches.shape
    return patches.view(count, layer.groups, -1, places).permute(1, 0, 3, 2).reshape(layer.groups, count * places, -1)


def _every(size: Sequence[int]) -> tuple[int, int]:
    """Of outputs `[H, W]` every how many rows and columns are noted: odd numbers, lest a pattern of 2 hides half."""
    height, width = size
    down = min(math.ceil(math.sqrt(height * width / _PLACES)) | 1, height)
    right = min(math.ceil(math.ceil(height / down) * width / _PLACES) | 1, width)
    return max(down, math.ceil(math.ceil(width / right) * height / _PLACES) | 1), right


def _sizes(layer: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return layer.kernel_size, layer.stride, layer.dilation


def _padding(layer: Any) -> list[int]:
    """As `pad` takes it: the last dimension first, both sides."""
    found = list(layer._reversed_padding_repeated_twice)
    return found if len(found) == 4 else [*found, 0, 0]


def _mode(layer: Any) -> str:
    return "constant" if layer.padding_mode == "zeros" else str(layer.padding_mode)


def adaround(
    weight: Tensor,
    scales: Tensor,
    gram: Tensor,
    ends: tuple[int, int],
    iterations: int = ITERATIONS,
    shown: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """The weights `[out, ...]` on steps of `scales` (one, or one for each output), for the layer's output's sake.

    `gram` is `[groups, K, K]` as `InputGrams` gives it; `ends` are the least and the greatest integer. Every weight is
    on one of the two steps beside it, and stays where it is when it is on one. No output has more error than with
    weights rounded to nearest: one that would, keeps those. `shown` is called with the iterations done.
    """
    groups, width = gram.shape[0], gram.shape[1]
    rows = weight.detach().float().reshape(groups, -1, width)
    scale = scales.detach().float().reshape(-1, 1).expand(weight.shape[0], 1).reshape(groups, -1, 1)
    steps = rows / scale
    floor, nearest = steps.floor(), steps.round().clamp(*ends)
    lies_between = (steps != floor).float()
    part = (steps - floor).clamp(0.001, 0.999)
    variable = torch.logit((part - _LOW) / (_HIGH - _LOW)).requires_grad_()
    error = _squared(nearest * scale - rows, gram)  # [groups, out / groups]
    usual = error.mean().clamp(min=1e-20)
    optimizer = torch.optim.Adam([variable], lr=_RATE)
    with torch.enable_grad():
        for done in range(iterations):
            up = (variable.sigmoid() * (_HIGH - _LOW) + _LOW).clamp(0, 1) * lies_between
            found = (floor + up).clamp(*ends) * scale - rows
            loss = _squared(found, gram).mean() / usual
            if done > _WARM_UP * iterations:
                share = (done / iterations - _WARM_UP) / (1 - _WARM_UP)
                exponent = _TO + (_FROM - _TO) * (1 + math.cos(math.pi * share)) / 2
                loss = loss + _STRENGTH * math.sqrt(width) * (1 - (2 * up - 1).abs().pow(exponent)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            shown(done + 1)
    with torch.no_grad():
        found = (floor + (variable > 0).float() * lies_between).clamp(*ends)
        is_better = _squared(found * scale - rows, gram) < error
        start = torch.where(is_better[..., None], found, nearest)
        both = floor.clamp(*ends) + (floor + lies_between).clamp(*ends)
        chosen = _turned(start, both, scale, rows, gram) * scale
    return chosen.reshape(weight.shape)


def _turned(start: Tensor, both: Tensor, scale: Tensor, rows: Tensor, gram: Tensor) -> Tensor:
    """Integers none of which had better be turned the other way by itself; `both` is the sum of either way.

    The relaxation leaves some variables in the middle, those of layers with few inputs above all.
    """
    now, groups = start.clone(), torch.arange(len(gram))[:, None]
    along, own = (now * scale - rows) @ gram, gram.diagonal(dim1=1, dim2=2)[:, None]
    for _ in range(_TURNS):
        turn = (both - 2 * now) * scale
        gain, place = (2 * turn * along + turn.square() * own).min(2)
        worth = torch.where(gain < 0, torch.take_along_dim(turn, place[..., None], 2)[..., 0], 0.0)
        if not worth.any():
            break
        along += worth[..., None] * gram[groups, place]
        now.scatter_add_(2, place[..., None], (worth / scale[..., 0]).round()[..., None])
    return now


def _squared(errors: Tensor, gram: Tensor) -> Tensor:
    """The squared error of each output, `[groups, out / groups]`, for these errors of its weights."""
    return ((errors @ gram) * errors).sum(2)


class HeldScales(ObserverBase):
    """Stands for a weight observer whose scales are settled, whatever weights it is shown from now on."""

    def __init__(self, of: Any) -> None:
        super().__init__(dtype=of.dtype)
        self.qscheme, self.ch_axis = of.qscheme, getattr(of, "ch_axis", 0)
        self.quant_min, self.quant_max = of.quant_min, of.quant_max
        self.scales, self.zero_points = of.calculate_qparams()

    def forward(self, x: Tensor) -> Tensor:
        """Nothing is noted."""
        return x

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """The scales and zero points."""
        return self.scales, self.zero_points


def rounded_adaptively(
    observed: nn.Module, grams: Mapping[str, Tensor], progress: Progress, known: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The weights of an observed module's layers on the steps their observers will make, by the paths of the layers.

    `grams` are those of `InputGrams`. The scales are held from here on. What is converted to int8 counts alone. Weights
    that are `known` to come out of it are not worked out again.
    """
    layers: dict[str, Any] = {path: observed.get_submodule(path) for path in grams}
    layers = {path: layer for path, layer in layers.items() if getattr(layer, "qconfig", None) is not None}
    found = dict[str, Tensor]()
    for number, (path, layer) in enumerate(layers.items()):

        def shown(done: int, number: int = number) -> None:
            if done % _SHOWN == 0:
                progress("adaptive rounding", number * ITERATIONS + done, len(layers) * ITERATIONS)

        observer = layer.qconfig.weight()
        observer(layer.weight.detach())
        held = HeldScales(observer)
        layer.qconfig = QConfig(activation=layer.qconfig.activation, weight=lambda held=held: held)
        ends = observer.quant_min, observer.quant_max
        if known and path in known:
            found[path] = known[path].clone()
            continue
        found[path] = adaround(layer.weight, held.scales, grams[path], ends, ITERATIONS, shown)
    return found


def hold(observed: nn.Module, rounded: Mapping[str, Tensor]) -> None:
    """Give the layers their rounded weights, in place; the parameters themselves, which copies may share, stay."""
    for path, weight in rounded.items():
        layer: Any = observed.get_submodule(path)
        layer.weight = nn.Parameter(weight, requires_grad=False)
