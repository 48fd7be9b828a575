"""Dynamic quantization: linear and recurrent layers with int8 weights, whose inputs are ranged anew at every call.

Nothing is calibrated, and everything else stays in float. It suits what is mostly large matrices met by few values,
as recurrent networks and transformers at a batch of one are: their time goes into reading weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.ao.nn.intrinsic as nni
from torch import nn
from torch.ao.quantization import PlaceholderObserver, QConfig, quantize_dynamic

from fxconv.config import Config, WeightScheme
from fxconv.data.calibration import Calibration
from fxconv.errors import UserError
from fxconv.models import forward
from fxconv.quantization import fusion
from fxconv.quantization.observers import weight_observer
from fxconv.quantization.passes import rewrite_with
from fxconv.quantization.quantize import QuantizedModel
from fxconv.quantization.task import QuantizationTask
from fxconv.quantization.torch_notices import quiet

_LINEAR = (nn.Linear, nni.LinearReLU)
_RECURRENT = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
_NOTHING = "nothing: activations are ranged at run time"


def quantize(task: QuantizationTask, name: str) -> QuantizedModel:
    """The rewritten model with the linear and recurrent layers in int8.

    Raises `UserError`, which calls the model by `name`, when it has none.
    """
    with task.clock.step("rewriting"):
        rewritten = rewrite_with(task.model, task.passes, task.image, share_parameters=True)
    with task.clock.step("conversion"):
        module = fusion.fuse(rewritten.module)
        choices = {path: _choice(layer, task.config) for path, layer in layers(module, [task.image])}
        if not choices:
            raise UserError(
                f"--mode dynamic quantizes linear layers, LSTM, GRU and recurrent cells, and {name} has none "
                "that the engine takes; use --mode static"
            )
        with quiet():
            int8 = quantize_dynamic(module, choices, inplace=True)
    return QuantizedModel(rewritten, Calibration(_NOTHING, 0, 0.0, 0.0), (), {}, int8)


def layers(module: nn.Module, images: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, nn.Module]]:
    """The layers that become int8, by all of their paths.

    Recurrent ones must have biases and no projection, and none may be given a single row without a batch: the engine's
    kernels refuse those.
    """
    alone = _without_batch(module, images)
    for path, part in module.named_modules(remove_duplicate=False):
        is_recurrent = isinstance(part, _RECURRENT) and part.bias and not getattr(part, "proj_size", 0)
        if part not in alone and (type(part) in _LINEAR or (type(part) in _RECURRENT and is_recurrent)):
            yield path, part


def _without_batch(module: nn.Module, images: Sequence[tuple[Any, ...]]) -> set[nn.Module]:
    """The linear and recurrent layers that are given fewer dimensions than their int8 kernels take."""
    found, hooks = set[nn.Module](), []

    def look(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        first = (*given, *named.values())[0]
        if first.ndim < (3 if isinstance(layer, (nn.LSTM, nn.GRU)) else 2):
            found.add(layer)

    for part in module.modules():
        if type(part) in (*_LINEAR, *_RECURRENT):
            hooks.append(part.register_forward_pre_hook(look, with_kwargs=True))
    try:
        forward.outputs(module, images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _choice(layer: nn.Module, config: Config) -> QConfig:
    """How a layer is quantized; the engine has one scale for a recurrent layer's matrix."""
    scheme = config.weight_scheme if type(layer) in _LINEAR else WeightScheme.per_tensor
    ranged = PlaceholderObserver.with_args(dtype=torch.quint8, is_dynamic=True)
    return QConfig(activation=ranged, weight=weight_observer(scheme))
