"""The kinds of modules in an int8 graph, and the float operations that each stands for; one row a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.ao.nn.intrinsic.quantized as nniq
import torch.ao.nn.quantized as nnq
import torch.nn.functional as F
from torch import fx, nn

from fxconv.targets.qdq.dynamic import DYNAMIC, write_dynamic
from fxconv.targets.qdq.layers import WEIGHTED, write_weighted
from fxconv.targets.qdq.writer import Writer
from rewrites import modules as m

# Writes what a module computes of these nodes, and gives the node of its result.
Row = Callable[..., Any]


def _add(writer: Writer, module: Any, x: Any, y: Any) -> fx.Node:
    return writer.call(torch.add, x, y)


def _add_relu(writer: Writer, module: Any, x: Any, y: Any) -> fx.Node:
    # a cap is the end of the range
    return writer.call(F.relu, writer.call(torch.add, x, y))


def _mul(writer: Writer, module: Any, x: Any, y: Any) -> fx.Node:
    return writer.call(torch.mul, x, y)


def _matmul(writer: Writer, module: Any, x: Any, y: Any) -> fx.Node:
    return writer.call(torch.matmul, x, y)


def _cat(writer: Writer, module: Any, tensors: Any) -> fx.Node:
    return writer.call(torch.cat, tensors, module.dim)


def _stack(writer: Writer, module: Any, tensors: Any) -> fx.Node:
    return writer.call(torch.stack, tensors, module.dim)


def _add_scalar(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(torch.add, x, module.scalar)


def _mul_scalar(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(torch.mul, x, module.scalar)


def _same(writer: Writer, module: Any, x: Any) -> Any:
    return x


def _batch_norm(writer: Writer, module: Any, x: Any) -> fx.Node:
    held = [writer.constant(name, getattr(module, name).detach()) for name in _STATISTICS]
    mean, variance, weight, bias = held
    result = writer.call(F.batch_norm, x, mean, variance, weight, bias, False, 0.0, float(module.eps))
    return writer.call(F.relu, result) if isinstance(module, (nniq.BNReLU2d, nniq.BNReLU3d)) else result


_STATISTICS = ("running_mean", "running_var", "weight", "bias")


def _affine(writer: Writer, module: Any) -> list[fx.Node | None]:
    held = [getattr(module, name, None) for name in ("weight", "bias")]
    names = ("weight", "bias")
    return [
        None if value is None else writer.constant(name, value.detach())
        for name, value in zip(names, held, strict=True)
    ]


def _layer_norm(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(F.layer_norm, x, tuple(module.normalized_shape), *_affine(writer, module), float(module.eps))


def _group_norm(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(F.group_norm, x, module.num_groups, *_affine(writer, module), float(module.eps))


def _instance_norm(writer: Writer, module: Any, x: Any) -> fx.Node:
    weight, bias = _affine(writer, module)
    return writer.call(F.instance_norm, x, None, None, weight, bias, True, 0.0, float(module.eps))


def _hardswish(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(F.hardswish, x)


def _relu6(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(F.relu6, x)


def _leaky_relu(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(F.leaky_relu, x, float(module.negative_slope))


def _elu(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(F.elu, x, float(module.alpha))


def _sigmoid(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(torch.sigmoid, x)


def _softmax(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(torch.softmax, x, module.dim)


def _prelu(writer: Writer, module: Any, x: Any) -> fx.Node:
    return writer.call(F.prelu, x, writer.constant("weight", module.weight.dequantize()))


ROWS: dict[type[nn.Module], Row] = {
    **dict.fromkeys(WEIGHTED, write_weighted),
    **dict.fromkeys(DYNAMIC, write_dynamic),
    **dict.fromkeys((nnq.BatchNorm2d, nnq.BatchNorm3d, nniq.BNReLU2d, nniq.BNReLU3d), _batch_norm),
    nnq.LayerNorm: _layer_norm,
    nnq.GroupNorm: _group_norm,
    **dict.fromkeys((nnq.InstanceNorm1d, nnq.InstanceNorm2d, nnq.InstanceNorm3d), _instance_norm),
    nnq.Hardswish: _hardswish,
    nnq.ReLU6: _relu6,
    nnq.LeakyReLU: _leaky_relu,
    nnq.ELU: _elu,
    nnq.Sigmoid: _sigmoid,
    nnq.Softmax: _softmax,
    nnq.PReLU: _prelu,
    nnq.Dropout: _same,
    nn.Dropout: _same,
    nn.Identity: _same,
    m.Add: _add,
    m.AddReLU: _add_relu,
    m.Mul: _mul,
    m.MatMul: _matmul,
    m.Cat: _cat,
    m.Stack: _stack,
    m.AddScalar: _add_scalar,
    m.MulScalar: _mul_scalar,
    m.DivScalar: _mul_scalar,
}
