"""The audit of dynamic quantization: each int8 layer beside its float form, on what it is really given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.ao.nn.intrinsic as nni
import torch.ao.nn.intrinsic.quantized.dynamic as nniqd
import torch.ao.nn.quantized.dynamic as nnqd
import torch.nn.functional as F
from torch import Tensor, nn

from fxconv.models import forward
from fxconv.quantization.dynamic import layers
from fxconv.verification.audit import Audit, OpAudit

_INT8 = (nnqd.Linear, nniqd.LinearReLU, nnqd.LSTM, nnqd.GRU, nnqd.LSTMCell, nnqd.GRUCell, nnqd.RNNCell)
# A linear layer's values agree with those of its rounded weights and input to this; only ties are rounded otherwise.
EXACT_DB = 40.0
# A recurrent layer is compared with its float form, which is as far off as a whole network may be.
_ALIKE_DB = 10.0
# Rounding to the nearest step moves a weight by half of one; the rest is float32.
_WEIGHT_STEPS = 0.51


class Tally:
    """What a layer's outputs have in signal, and in difference from what they should be; and how many values."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0
        self.values = 0

    def add(self, wanted: Any, found: Any) -> None:
        for a, b in zip(forward.tensors(wanted), forward.tensors(found), strict=True):
            self.signal += float(a.double().square().sum())
            self.noise += float((a.double() - b.double()).square().sum())
            self.values += a.numel()

    @property
    def sqnr_db(self) -> float:
        if self.noise == 0:
            return math.inf
        if not self.signal or not math.isfinite(self.noise):
            return -math.inf
        return 10 * math.log10(self.signal / self.noise)


def audit(int8: nn.Module, floating: nn.Module, images: Sequence[tuple[Any, ...]]) -> Audit:
    """Each int8 layer beside its float form, on what it is really given for these images.

    The weights must be the float ones to half a step. A linear layer must give what those weights give for its input
    rounded to the 8 bits that its least and greatest value call for; a recurrent one, which rounds at every step of
    time, what its float form gives, as near as a whole network must come.
    """
    parts = dict(floating.named_modules(remove_duplicate=False))
    made = {path: part for path, part in int8.named_modules() if isinstance(part, _INT8)}
    tallies, hooks = {path: Tally() for path in made}, []
    for path, layer in made.items():
        hooks.append(layer.register_forward_hook(_compare(parts[path], tallies[path]), with_kwargs=True))
    try:
        outputs = forward.outputs(int8, images)
    finally:
        for hook in hooks:
            hook.remove()
    rows = (_row(path, layer, parts[path], tallies[path]) for path, layer in made.items())
    known = {path for path, part in int8.named_modules(remove_duplicate=False) if isinstance(part, _INT8)}
    inside = {f"{path}.0" for path in known}  # the linear layer of one that is fused with its ReLU
    missed = [path for path, _ in layers(floating, images) if path not in known and path not in inside]
    idle = (OpAudit(path, "", 0, 0, 0.0, 0.0, "is a layer for int8 and is in float") for path in missed)
    return Audit((*rows, *idle), len(images), outputs)


def _compare(floating: Any, tally: Tally) -> Callable[..., None]:
    """A hook that compares what a layer gives with what it should give."""

    def look(layer: Any, given: tuple[Any, ...], named: dict[str, Any], returned: Any) -> None:
        first = (*given, *named.values())[0]
        if not first.numel():
            return
        with torch.no_grad():
            is_linear = isinstance(layer, nnqd.Linear)
            tally.add(_linear(layer, floating, first) if is_linear else floating(*given, **named), returned)

    return look


def _linear(layer: Any, floating: Any, given: Tensor) -> Tensor:
    """What a linear layer must give for int8 weights, the float bias, and its input in steps between its ends.

    The desktop engines range inputs to 7 bits, lest their 16-bit sums overflow.
    """
    steps = 255 if torch.backends.quantized.engine == "qnnpack" else 127
    least, most = (float(end) for end in torch.aminmax(given))
    least, most = min(least, 0.0), max(most, 0.0)
    scale = (most - least) / steps or 1.0
    zero = min(max(round(-least / scale), 0), steps)
    rounded = torch.fake_quantize_per_tensor_affine(given.float(), scale, zero, 0, steps)
    result = F.linear(rounded, layer.weight().dequantize(), _plain(floating).bias)
    return torch.relu(result) if isinstance(layer, nniqd.LinearReLU) else result


def _row(path: str, layer: Any, floating: Any, tally: Tally) -> OpAudit:
    least = EXACT_DB if isinstance(layer, nnqd.Linear) else _ALIKE_DB
    problem = _weight_problem(layer, floating)
    if not tally.values:
        problem = problem or "never ran on the inputs of the audit"
    elif not problem and tally.sqnr_db < least:
        problem = f"its values are {tally.sqnr_db:.1f} dB from what they should be; at least {least:g} dB are required"
    return OpAudit(path, f"{type(layer).__name__} (dynamic)", tally.values, 0, 0.0, 0.0, problem)


def _weight_problem(layer: Any, floating: Any) -> str:
    for name, (int8, wanted) in _weights(layer, floating).items():
        scales = int8.q_per_channel_scales() if int8.qscheme() == torch.per_channel_affine else int8.q_scale()
        steps = scales.view(-1, *[1] * (wanted.ndim - 1)) if isinstance(scales, Tensor) else scales
        worst = float(((int8.dequantize() - wanted).abs() / steps).max())
        if not worst <= _WEIGHT_STEPS:
            return f"its {name} is up to {worst:.3g} steps from the float one"
    return ""


def _weights(layer: Any, floating: Any) -> Mapping[str, tuple[Tensor, Tensor]]:
    """The int8 weights of a layer, each beside the float ones, by their name in the float layer."""
    if isinstance(layer, nnqd.Linear):
        return {"weight": (layer.weight(), _plain(floating).weight.detach())}
    found = layer.get_weight()
    named = dict(floating.named_parameters())
    return {name: (value, named[name].detach()) for name, value in found.items() if name in named}


def _plain(floating: Any) -> Any:
    """The linear layer in one that is fused with its ReLU."""
    return floating[0] if isinstance(floating, nni.LinearReLU) else floating
