"""A file in the lite interpreter: loaded, and asked what it computes with."""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.jit.mobile import _export_operator_list, _get_model_bytecode_version, _load_for_lite_interpreter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fxconv.measures.macs import layer_macs
from fxconv.models.dispatch import passed_on
from fxconv.targets.artifact import CELLS, DYNAMIC, Artifact


def load_lite(path: Path) -> Any:
    """The file in the lite interpreter, as a phone loads it."""
    return _load_for_lite_interpreter(str(path))


def load_lite_bytes(content: bytes) -> Any:
    """The same from memory, for what never needs a name."""
    return _load_for_lite_interpreter(io.BytesIO(content))


# Layers, in the operators of aten, and those that XNNPACK has a packed form of.
_FLOAT_LAYERS = re.compile(r"aten::(?:_?convolution|conv\w*|linear|addmm)(?:\.|$)")
_PACKABLE = re.compile(r"aten::(?:_convolution|conv1d|conv2d|conv_transpose2d|linear)(?:\.|$)")


def float_kernels(module: Any) -> str:
    """The kernels that the convolutions and linear layers of a float file run on: XNNPACK's, or aten's.

    "aten, unpacked" are layers that XNNPACK could have packed; "" where there are no layers.
    """
    operators = _export_operator_list(module)
    packed = any(name.startswith("prepacked::") for name in operators)
    if not packed and any(_PACKABLE.match(name) for name in operators):
        return "aten, unpacked"
    plain = any(_FLOAT_LAYERS.match(name) for name in operators)
    return " and ".join(name for name, is_there in (("XNNPACK", packed), ("aten", plain)) if is_there)


def describe(path: Path, data: bytes, example: tuple[Any, ...], float_bytes: int) -> Artifact:
    """Everything about the file at `path` whose content is `data`, with one inference on `example`."""
    module = load_lite(path)
    profile = _Profile()
    with torch.no_grad(), profile:
        module(*example)
    return Artifact(
        None,
        data,
        hashlib.sha256(data).hexdigest(),
        int(_get_model_bytecode_version(str(path))),
        tuple(sorted(_export_operator_list(module))),
        dict(profile.calls),
        dict(profile.int8_calls),
        dict(profile.macs),
        float_bytes,
        kernels="qnnpack",
        needs="the lite interpreter (pytorch_android_lite, LibTorch-Lite)",
    )


def unreadable(data: bytes, float_bytes: int) -> Artifact:
    """What can be said of a file that did not load."""
    return Artifact(None, data, hashlib.sha256(data).hexdigest(), 0, (), {}, {}, {}, float_bytes)


class _Profile(TorchDispatchMode):
    """Counts the operators the lite interpreter really calls, and the multiply-accumulates they stand for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.int8_calls: Counter[str] = Counter()
        self.macs: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = passed_on(func, args, kwargs or {})
        name = func._schema.name
        self.calls[name] += 1
        if name in DYNAMIC or any(isinstance(t, Tensor) and t.is_quantized for t in tree_leaves(out)):
            self.int8_calls[name] += 1
        macs = _macs(name, args, out)
        if macs:
            self.macs[name] += macs
        return out


# Recurrent layers, and the gates of each; what they take and give is float, ranged at run time.
_GATES = {"quantized_lstm": 4, "quantized_gru": 3, "lstm": 4, "gru": 3}


# Operators that are several linear layers at once, and where among their arguments the weights stand.
_FUSED_LINEAR = {"aten::_native_multi_head_attention": (5, 7), "aten::_transformer_encoder_layer_fwd": (3, 5, 14, 16)}


def _macs(name: str, args: tuple[Any, ...], out: Any) -> int:
    """Multiply-accumulates of one call of a convolution or linear layer; 0 for any other operator."""
    namespace, _, operator = name.partition("::")
    if operator in _GATES or operator in CELLS:
        return _recurrent_macs(operator, args)
    if name == "aten::mkldnn_rnn_layer":  # of an LSTM, one layer in one direction
        given, *weights = args[:3]
        return int(given.numel() // given.shape[-1] * sum(weight.numel() for weight in weights))
    if namespace == "quantized" and operator.startswith(("conv", "linear")):
        return layer_macs(args[1].unpack()[0], args[0], out, "transpose" in operator)
    if namespace == "prepacked" and operator.endswith("_run"):
        transposed = "transpose" in operator
        # the packed weights of a float transposed convolution have no other way out
        packed = args[1].__getstate__()[0] if transposed else args[1].unpack()
        return layer_macs(packed[0], args[0], out, transposed)
    if name in ("aten::convolution", "aten::_convolution"):
        return layer_macs(args[1], args[0], out, bool(args[6]))
    if name in ("aten::linear", "aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::mkldnn_convolution"):
        return layer_macs(args[1], args[0], out, False)
    if name in _FUSED_LINEAR:
        weights = [args[position] for position in _FUSED_LINEAR[name]]
        tokens = args[0].numel() // weights[0].shape[-1]  # what is taken may be nested, and have no shape
        return int(tokens * sum(weight.numel() for weight in weights))
    if name in ("aten::addmm", "aten::mm"):
        return int(out.numel() * args[-1].shape[0])
    return 0


def _recurrent_macs(operator: str, args: tuple[Any, ...]) -> int:
    """Every value of the input, and every one of the state, meets each gate's units, at each step of time."""
    given, state = args[0], args[1][0] if isinstance(args[1], (list, tuple)) else args[1]
    size, units = given.shape[-1], state.shape[-1]
    steps = given.numel() // size
    if operator in CELLS:
        return int(steps * CELLS[operator] * units * (size + units))
    layers, directions = args[4], 2 if args[7] else 1
    first, others = size + units, (layers - 1) * (directions * units + units)
    return int(steps * directions * _GATES[operator] * units * (first + others))
