"""Linear layers whose inputs are ranged anew at every call: int8 weights, and a range that the graph chooses itself.

Inputs are quantized over their own least and greatest value, as the kernels do it; what the layer gives is in float.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.ao.nn.intrinsic.quantized.dynamic as nniqd
import torch.ao.nn.quantized.dynamic as nnqd
import torch.nn.functional as F
from torch import fx, nn

from fxconv.targets.qdq.layers import written_weight
from fxconv.targets.qdq.writer import Writer

CHOOSE = torch.ops.quantized_decomposed.choose_qparams.tensor
QUANTIZE_CHOSEN = torch.ops.quantized_decomposed.quantize_per_tensor.tensor
DEQUANTIZE_CHOSEN = torch.ops.quantized_decomposed.dequantize_per_tensor.tensor

DYNAMIC: tuple[type[nn.Module], ...] = (nnqd.Linear, nniqd.LinearReLU)

# The least scale, for an input that is zero all over.
_LEAST_SCALE = torch.finfo(torch.float32).eps


def write_dynamic(writer: Writer, module: Any, given: fx.Node) -> fx.Node:
    """The float operation of such a layer, behind a range that is chosen for what it is given."""
    bounds = (writer.integers.least, writer.integers.most)
    chosen = writer.call(CHOOSE, given, *bounds, _LEAST_SCALE, writer.integers.dtype)
    settings = (*(writer.call(operator.getitem, chosen, place) for place in range(2)), *bounds, writer.integers.dtype)
    rounded = writer.call(DEQUANTIZE_CHOSEN, writer.call(QUANTIZE_CHOSEN, given, *settings), *settings)
    bias = module.bias()
    held = None if bias is None else writer.constant("bias", bias.detach())
    result = writer.call(F.linear, rounded, written_weight(writer, module.weight().detach()), held)
    return writer.call(F.relu, result) if isinstance(module, nniqd.LinearReLU) else result
