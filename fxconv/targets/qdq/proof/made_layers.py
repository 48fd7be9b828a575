"""Operations of an int8 module that a rule of lowering writes as a layer: the numbers that such a layer must have.

An average pool adds its integers up and divides: weights of 1, whose scale is 1 over the divisor. A batch norm has a
factor and a shift for each channel: weights of 127 or -127, whose scale is the factor's size over 127, and the shift as
bias. All are computed from the int8 module's operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.ao.nn.intrinsic.quantized as nniq
import torch.ao.nn.quantized as nnq
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxconv.quantization.int8_weights import int8_weight
from fxconv.targets.qdq.proof.file_numbers import Integers, Scales
from fxconv.targets.qdq.writer import SOURCE
from rewrites.modules import Wrapped
from rewrites.values import attribute, callee, submodule

_MOST = 127
_BATCH_NORMS = (nnq.BatchNorm2d, nniq.BNReLU2d)


@dataclass(frozen=True)
class MadeLayer:
    """Weights, their scales and the bias of a layer that stands for an operation without any."""

    weight: Integers
    scales: Scales
    bias: npt.NDArray[np.float64]


def made_layers(int8: fx.GraphModule, form: fx.GraphModule) -> dict[str, MadeLayer]:
    """Those of a graph, by the name of the int8 node; `form` is the graph's Q/DQ form after the rules of lowering."""
    nodes = {node.name: node for node in int8.graph.nodes}
    found: dict[str, MadeLayer] = {}
    for layer in form.graph.find_nodes(op="call_function", target=F.conv2d):
        node = nodes.get(str(layer.meta.get(SOURCE)))
        module = None if node is None else submodule(int8, node)
        if node is None or (module is not None and int8_weight(module) is not None):
            continue
        if isinstance(module, _BATCH_NORMS):
            found[node.name] = _of_batch_norm(module)
        elif (shape := _weight_shape(form, layer)) is not None:
            found[node.name] = _of_average(shape, _divisor(int8, node, module))
    return found


def own_operation(module: nn.Module | None) -> nn.Module | None:
    """What a module of an int8 graph computes: of one that computes in float between two roundings, what is in it."""
    return module.op if isinstance(module, Wrapped) else module


def _of_batch_norm(module: Any) -> MadeLayer:
    factor: Tensor = (module.running_var.double() + float(module.eps)).rsqrt()
    factor = factor if module.weight is None else factor * module.weight.detach().double()
    shift = -module.running_mean.double() * factor
    shift = shift if module.bias is None else shift + module.bias.detach().double()
    scales = torch.where(factor == 0, 1.0, factor.abs() / _MOST).float()
    return MadeLayer((factor.sign() * _MOST).long().numpy(), scales.numpy(), shift.numpy())


def _of_average(shape: tuple[int, ...], divisor: int | None) -> MadeLayer:
    scale = 1.0 / (divisor or math.prod(shape[2:]))
    return MadeLayer(np.ones(math.prod(shape), np.int64), np.array([scale], np.float32), np.zeros(1))


def _divisor(int8: fx.GraphModule, node: fx.Node, module: nn.Module | None) -> int | None:
    """What an average pool says that it divides by; None where that is the size of its window."""
    if module is not None:
        return getattr(own_operation(module), "divisor_override", None)
    called: Callable[..., Any] | None = callee(int8, node)
    if called is not F.avg_pool2d:
        return None
    given = node.args[6] if len(node.args) > 6 else node.kwargs.get("divisor_override")
    return given if isinstance(given, int) else None


def _weight_shape(form: fx.GraphModule, layer: fx.Node) -> tuple[int, ...] | None:
    """The shape of a layer's weights."""
    made = layer.args[1]
    held = made.args[0] if isinstance(made, fx.Node) and made.args else None
    if not isinstance(held, fx.Node) or held.op != "get_attr":
        return None
    value = attribute(form, str(held.target))
    return tuple(value.shape) if isinstance(value, Tensor) else None
