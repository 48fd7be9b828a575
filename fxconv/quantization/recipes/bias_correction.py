"""Empirical bias correction: a layer's mean output stays what it is when its weights are rounded."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import QConfig

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


class InputMeans:
    """The mean of each input channel of the layers in a module, over all that it is run on while this is entered.

    `means` has them by the path of the layer, by each of its paths where it has several: of a convolution
    `[channels in]`, of a linear layer `[features in]`.
    """

    def __init__(self, module: nn.Module) -> None:
        parts = module.named_modules(remove_duplicate=False)
        layers = {path: part for path, part in parts if type(part) in _LAYERS}
        self.watched = {part: path for path, part in reversed(layers.items())}
        self.names = {path: self.watched[part] for path, part in layers.items()}
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.hooks: list[Any] = []

    def __enter__(self) -> InputMeans:
        for layer, name in self.watched.items():
            note = functools.partial(self._note, name)
            self.hooks.append(layer.register_forward_pre_hook(note, with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks.clear()  # what is left of them can be neither copied nor saved
        self.watched.clear()  # the module is not kept for this

    def _note(self, name: str, layer: Any, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        # a convolution's input is [N, C, ...] or [C, ...]; a linear layer's ends in its features
        given, behind = (*args, *kwargs.values())[0], 0 if isinstance(layer, nn.Linear) else layer.weight.ndim - 2
        channel = given.ndim - 1 - behind
        others = [dim for dim in range(given.ndim) if dim != channel]
        total = (given.sum(others) if others else given).double()
        self.sums[name] = self.sums.get(name, torch.zeros_like(total)) + total
        self.counts[name] = self.counts.get(name, 0) + given.numel() // len(total)

    def add(self, other: InputMeans) -> None:
        """Take in what another one noted of the same layers, in a copy of the module."""
        for name, total in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + total
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]

    @property
    def means(self) -> dict[str, Tensor]:
        """float64; layers that were never called are left out."""
        return {path: self.sums[name] / self.counts[name] for path, name in self.names.items() if self.counts.get(name)}


def bias_correction(layer: Any, rounded: Tensor, mean: Tensor) -> Tensor:
    """What to add to a layer's bias `[out]` so that rounding its weights leaves its mean output as it is.

    (W - Q(W)) E[x], summed over the kernel: the empirical bias correction of Nagel et al. 2019, Data-Free Quantization
    Through Weight Equalization and Bias Correction, 4.2. `rounded` are the weights as int8 has them, in float;
    `mean` is of each input channel. E[x] is taken of the float model: correcting for the errors of the layers before as
    well would follow the noise of the images calibrated with.
    """
    lost = (layer.weight.detach().double() - rounded.double()).reshape(*rounded.shape[:2], -1).sum(2)
    groups = int(getattr(layer, "groups", 1))
    by_group = lost.view(groups, -1, lost.shape[1])
    return torch.einsum("goi,gi->go", by_group, mean.view(groups, -1)).flatten().float()


def corrected(module: nn.Module, means: Mapping[str, Tensor], rounded: Mapping[str, Tensor]) -> None:
    """Correct the biases of an observed module's layers, in place, for the weights its observers will make.

    `means` are those of `InputMeans`, by the paths of the layers; `rounded` the weights of layers that are not rounded
    to nearest. The parameters themselves, which other copies of the model may share, stay as they are.
    """
    done = set[nn.Module]()
    for path, mean in means.items():
        layer: Any = module.get_submodule(path)
        if layer in done or getattr(layer, "qconfig", None) is None:  # it has another path, or runs in float
            continue
        done.add(layer)
        observer = layer.qconfig.weight()
        observer(layer.weight.detach())
        # what it worked out of the weights is asked for again when they become int8
        layer.qconfig = QConfig(activation=layer.qconfig.activation, weight=functools.partial(_itself, observer))
        weight = rounded[path] if path in rounded else _rounded(layer.weight.detach(), observer)
        addition = bias_correction(layer, weight, mean)
        changed = addition if layer.bias is None else layer.bias.detach() + addition
        layer.bias = nn.Parameter(changed, requires_grad=False)


def _itself(observer: Any) -> Any:
    return observer


def _rounded(weight: Tensor, observer: Any) -> Tensor:
    """The weights as int8 will have them, in float."""
    scale, zero_point = observer.calculate_qparams()
    ends = observer.quant_min, observer.quant_max
    if observer.qscheme == torch.per_channel_symmetric:
        return torch.fake_quantize_per_channel_affine(weight, scale, zero_point.int(), observer.ch_axis, *ends)
    return torch.fake_quantize_per_tensor_affine(weight, float(scale), int(zero_point), *ends)
