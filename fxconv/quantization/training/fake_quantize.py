"""A float module that rounds as its int8 form will, and can be trained: quantization-aware training.

Weights are rounded to their 8-bit steps at every forward, by the range they have by then; activations to the steps of
the ranges that calibration found, which stay. The gradient passes a rounding as if it were not there, and stops where a
value is cut off (Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons; Jacob et al. 2018,
Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference). Batch norms are folded
already, as Nagel et al. 2021 (A White Paper on Neural Network Quantization, 5.2) find good for a short training that
starts from a calibrated model: what is trained is the very numbers that int8 holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fxconv.quantization.observers import RangeObserver
from fxconv.quantization.static import int8_layers
from fxconv.quantization.trained_weights import Trained
from fxconv.quantization.training.contiguous_convolutions import keep_contiguous

# Where torch keeps the parameter of which a parametrized weight is made.
_ORIGINAL = "parametrizations.weight.original"


class FakeActivation(nn.Module):
    """Stands where an observer stood, and rounds what passes to the steps of its range."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, observer: RangeObserver) -> None:
        super().__init__()
        scale, zero_point = observer.calculate_qparams()
        # copies: what was observed in inference mode cannot be trained behind
        self.register_buffer("scale", scale.reshape(()).float().clone())
        self.register_buffer("zero_point", zero_point.reshape(()).int().clone())
        self.least, self.most = observer.quant_min, observer.quant_max

    def forward(self, x: Tensor) -> Tensor:
        """A value of any shape, rounded."""
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, self.least, self.most)


class FakeWeight(nn.Module):
    """Rounds a layer's weights as `observer`, one of torch's for weights, will have them in int8."""

    def __init__(self, observer: Any) -> None:
        super().__init__()
        self.observer = observer

    def forward(self, weight: Tensor) -> Tensor:
        """Weights of any shape, rounded by the range that they have now."""
        observer = self.observer
        observer.reset_min_max_vals()
        observer(weight.detach())
        scale, zero_point = observer.calculate_qparams()
        least, most = observer.quant_min, observer.quant_max
        if observer.qscheme == torch.per_channel_symmetric:
            axis = observer.ch_axis
            return torch.fake_quantize_per_channel_affine(weight, scale, zero_point.int(), axis, least, most)
        return torch.fake_quantize_per_tensor_affine(weight, scale, zero_point.int(), least, most)


class FakeQuantized(nn.Module):
    """A calibrated module whose values and weights are rounded at every forward, with weights of its own to train.

    Batch norms and dropout stay as they are in eval mode, whatever `train` is told: int8 has them so.
    """

    def __init__(self, observed: nn.Module) -> None:
        super().__init__()
        _own_parameters(observed)
        _fake_weights(observed)
        _fake_activations(observed)
        keep_contiguous(observed)
        self.module = observed.eval()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the model returns, with the errors of int8."""
        return self.module(*inputs, **named)

    def train(self, mode: bool = True) -> FakeQuantized:
        """Only says that it is trained; nothing in it behaves otherwise."""
        self.training = mode
        return self

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What is trained, by the paths it has in the fused float module."""
        for path, parameter in self.module.named_parameters(remove_duplicate=False):
            yield path.replace(_ORIGINAL, "weight"), parameter

    def trained(self) -> Trained:
        """The weights and biases as they are now, wherever they were trained."""
        kept = ((path, parameter.detach().cpu()) for path, parameter in self.named_weights())
        return Trained({path: value.clone(memory_format=torch.contiguous_format) for path, value in kept})


def _own_parameters(module: nn.Module) -> None:
    """Give a module parameters of its own, that can be trained; those that are shared within stay so."""
    owned: dict[int, nn.Parameter] = {}
    for path, parameter in list(module.named_parameters(remove_duplicate=False)):
        owner, _, name = path.rpartition(".")
        copied = owned.setdefault(
            id(parameter), nn.Parameter(parameter.detach().clone(), requires_grad=parameter.is_floating_point())
        )
        setattr(module.get_submodule(owner), name, copied)


def _fake_weights(observed: nn.Module) -> None:
    """Round the weights of the layers that will be int8."""
    for path in int8_layers(observed):
        layer: Any = observed.get_submodule(path)
        parametrize.register_parametrization(layer, "weight", FakeWeight(layer.qconfig.weight()))


def _fake_activations(observed: nn.Module) -> None:
    for part in list(observed.modules()):
        observer = getattr(part, "activation_post_process", None)
        if isinstance(observer, RangeObserver):
            part.activation_post_process = FakeActivation(observer)
