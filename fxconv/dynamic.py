"""Dynamic quantization: linear and recurrent layers with int8 weights, whose inputs are ranged anew at every call.

Nothing is calibrated, and everything else stays in float. It suits what is mostly large matrices met by few values,
as recurrent networks and transformers at a batch of one are: their time goes into reading weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.ao.nn.intrinsic as nni
import torch.ao.nn.intrinsic.quantized.dynamic as nniqd
import torch.ao.nn.quantized.dynamic as nnqd
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.quantization import PlaceholderObserver, QConfig, quantize_dynamic

from fxconv import quantize, verify
from fxconv.audit import Audit, OpAudit
from fxconv.calibration import Calibration
from fxconv.config import Config, WeightScheme
from fxconv.errors import UserError
from fxconv.job import Job
from fxconv.observers import weight_observer
from fxconv.passes import rewrite_with
from fxconv.settling import Settled

_LINEAR = (nn.Linear, nni.LinearReLU)
_RECURRENT = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
_INT8 = (nnqd.Linear, nniqd.LinearReLU, nnqd.LSTM, nnqd.GRU, nnqd.LSTMCell, nnqd.GRUCell, nnqd.RNNCell)
# A linear layer's values agree with those of its rounded weights and input to this; only ties are rounded otherwise.
_EXACT_DB = 40.0
# A recurrent layer is compared with its float form, which is as far off as a whole network may be.
_ALIKE_DB = 10.0
# Rounding to the nearest step moves a weight by half of one; the rest is float32.
_WEIGHT_STEPS = 0.51
_NOTHING = "nothing: activations are ranged at run time"


def settle(job: Job) -> Settled:
    """The rewritten model with the linear and recurrent layers in int8. Raises `UserError` when it has none."""
    with job.clock.step("rewriting"):
        rewritten = rewrite_with(job.model, job.rules, job.images[0], share_parameters=True)
    with job.clock.step("conversion"):
        module = quantize.fuse(rewritten.module)
        choices = {path: _choice(layer, job.config) for path, layer in layers(module, job.images[:1])}
        if not choices:
            raise UserError(
                f"--mode dynamic quantizes linear layers, LSTM, GRU and recurrent cells, and {job.info.name} has none "
                "that the engine takes; use --mode static"
            )
        with quantize.quiet():
            int8 = quantize_dynamic(module, choices, inplace=True)
    return Settled(rewritten, Calibration(_NOTHING, 0, 0.0, 0.0), (), {}, int8)


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
        verify.outputs(module, images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _choice(layer: nn.Module, config: Config) -> QConfig:
    """How a layer is quantized; the engine has one scale for a recurrent layer's matrix."""
    scheme = config.weight_scheme if type(layer) in _LINEAR else WeightScheme.per_tensor
    ranged = PlaceholderObserver.with_args(dtype=torch.quint8, is_dynamic=True)
    return QConfig(activation=ranged, weight=weight_observer(scheme))


class _Tally:
    """What a layer's outputs have in signal, and in difference from what they should be; and how many values."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0
        self.values = 0

    def add(self, wanted: Any, found: Any) -> None:
        for a, b in zip(verify.tensors(wanted), verify.tensors(found), strict=True):
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
    tallies, hooks = {path: _Tally() for path in made}, []
    for path, layer in made.items():
        hooks.append(layer.register_forward_hook(_compare(parts[path], tallies[path]), with_kwargs=True))
    try:
        outputs = verify.outputs(int8, images)
    finally:
        for hook in hooks:
            hook.remove()
    rows = (_row(path, layer, parts[path], tallies[path]) for path, layer in made.items())
    known = {path for path, part in int8.named_modules(remove_duplicate=False) if isinstance(part, _INT8)}
    inside = {f"{path}.0" for path in known}  # the linear layer of one that is fused with its ReLU
    missed = [path for path, _ in layers(floating, images) if path not in known and path not in inside]
    idle = (OpAudit(path, "", 0, 0, 0.0, 0.0, "is a layer for int8 and is in float") for path in missed)
    return Audit((*rows, *idle), len(images), outputs)


def _compare(floating: Any, tally: _Tally) -> Callable[..., None]:
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


def _row(path: str, layer: Any, floating: Any, tally: _Tally) -> OpAudit:
    least = _EXACT_DB if isinstance(layer, nnqd.Linear) else _ALIKE_DB
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
