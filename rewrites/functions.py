"""Functions of one tensor as modules, for those that torch.nn has none of: 2 ** x, 1 / x, torch.exp(x), x.sum(1).

`function_of(graph_module, node)` is the module that computes what a node does, when that is a function of one tensor
and constants. In float each computes exactly the call it stands for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.memory import changes_in_place
from rewrites.values import callee, is_scalar, submodule


class Plus(nn.Module):
    """x + number."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x + self.number


class Times(nn.Module):
    """x * number."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x * self.number


class Over(nn.Module):
    """x / number."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x / self.number


class Quotient(nn.Module):
    """number / x, as Python's operator has it: x.reciprocal() * number, which torch.div rounds in another way."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return self.number / x

    def extra_repr(self) -> str:
        return f"{self.number:g}"


class Power(nn.Module):
    """x ** exponent."""

    def __init__(self, exponent: float) -> None:
        super().__init__()
        self.exponent = exponent

    def forward(self, x: Tensor) -> Tensor:
        return torch.pow(x, self.exponent)


class Exponential(nn.Module):
    """base ** x."""

    def __init__(self, base: float) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: Tensor) -> Tensor:
        return torch.pow(self.base, x)


class Clamp(nn.Module):
    """min(max(x, min), max); a bound may be None."""

    def __init__(self, min: float | None = None, max: float | None = None) -> None:
        super().__init__()
        self.min, self.max = min, max

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x, self.min, self.max)


class Exp(nn.Module):
    """torch.exp(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x)


class Expm1(nn.Module):
    """torch.expm1(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.expm1(x)


class Log(nn.Module):
    """torch.log(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x)


class Log1p(nn.Module):
    """torch.log1p(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log1p(x)


class Sqrt(nn.Module):
    """torch.sqrt(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x)


class Rsqrt(nn.Module):
    """torch.rsqrt(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.rsqrt(x)


class Reciprocal(nn.Module):
    """torch.reciprocal(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.reciprocal(x)


class Abs(nn.Module):
    """torch.abs(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.abs(x)


class Erf(nn.Module):
    """torch.erf(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


class Sin(nn.Module):
    """torch.sin(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class Cos(nn.Module):
    """torch.cos(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cos(x)


class _OverDims(nn.Module):
    """Base of what makes one value of all along some dimensions."""

    def __init__(self, dim: list[int], keepdim: bool = False) -> None:
        super().__init__()
        self.dim, self.keepdim = dim, keepdim


class Sum(_OverDims):
    """torch.sum(x, dim, keepdim)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sum(x, self.dim, self.keepdim)


class AMax(_OverDims):
    """torch.amax(x, dim, keepdim)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.amax(x, self.dim, self.keepdim)


class AMin(_OverDims):
    """torch.amin(x, dim, keepdim)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.amin(x, self.dim, self.keepdim)


# The classes above, in an order in which their text can be read.
OWN: tuple[type[nn.Module], ...] = (
    Plus, Times, Over, Quotient, Power, Exponential, Clamp, Exp, Expm1, Log, Log1p, Sqrt, Rsqrt, Reciprocal, Abs, Erf,
    Sin, Cos, _OverDims, Sum, AMax, AMin,
)  # fmt: skip

# Each factory has the signature of the functions it stands for, without the tensor; it raises `TypeError` for
# arguments that the module would not have. The functions may be called with the tensor first.


def _plain(module: type[nn.Module]) -> Callable[..., nn.Module]:
    def build() -> nn.Module:
        return module()

    return build


def _unsettled(module: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(inplace: bool = False) -> nn.Module:
        if inplace:
            raise TypeError("it changes its input in place")
        return module()

    return build


def _celu(alpha: float = 1.0, inplace: bool = False) -> nn.Module:
    if inplace:
        raise TypeError("it changes its input in place")
    return nn.CELU(alpha)


def _constant(number: object) -> float:
    if not is_scalar(number):
        raise TypeError("it is no constant")
    return float(number)  # type: ignore[arg-type]


def _bound(number: object) -> float | None:
    return None if number is None else _constant(number)


def _clamp(min: Any = None, max: Any = None) -> nn.Module:
    return Clamp(_bound(min), _bound(max))


def _clamp_min(min: Any) -> nn.Module:
    return Clamp(_constant(min), None)


def _clamp_max(max: Any) -> nn.Module:
    return Clamp(None, _constant(max))


def _power(exponent: Any) -> nn.Module:
    return Power(_constant(exponent))


def _adaptive_max_pool2d(output_size: Any, return_indices: bool = False) -> nn.Module:
    if return_indices:
        raise TypeError("it gives indices as well")
    return nn.AdaptiveMaxPool2d(output_size)


def _square() -> nn.Module:
    return Power(2.0)


def _over(module: type[_OverDims]) -> Callable[..., nn.Module]:
    def build(dim: Any, keepdim: bool = False) -> nn.Module:
        dims = [dim] if isinstance(dim, int) else list(dim)
        if not dims or not all(type(one) is int for one in dims):
            raise TypeError("its dimensions are no constants")
        return module(dims, keepdim)

    return build


_FACTORIES: dict[Callable[..., Any], Callable[..., nn.Module]] = {
    torch.exp: _plain(Exp), Tensor.exp: _plain(Exp),
    torch.expm1: _plain(Expm1), Tensor.expm1: _plain(Expm1),
    torch.log: _plain(Log), Tensor.log: _plain(Log),
    torch.log1p: _plain(Log1p), Tensor.log1p: _plain(Log1p),
    torch.sqrt: _plain(Sqrt), Tensor.sqrt: _plain(Sqrt),
    torch.rsqrt: _plain(Rsqrt), Tensor.rsqrt: _plain(Rsqrt),
    torch.reciprocal: _plain(Reciprocal), Tensor.reciprocal: _plain(Reciprocal),
    torch.abs: _plain(Abs), Tensor.abs: _plain(Abs), operator.abs: _plain(Abs), abs: _plain(Abs),
    torch.absolute: _plain(Abs), Tensor.absolute: _plain(Abs),
    torch.erf: _plain(Erf), Tensor.erf: _plain(Erf),
    F.adaptive_max_pool2d: _adaptive_max_pool2d,
    F.mish: _unsettled(nn.Mish), F.softplus: nn.Softplus, F.selu: _unsettled(nn.SELU), F.celu: _celu,
    F.logsigmoid: nn.LogSigmoid, F.softsign: nn.Softsign, F.tanhshrink: nn.Tanhshrink,
    F.softshrink: nn.Softshrink, F.hardshrink: nn.Hardshrink,
    torch.sin: _plain(Sin), Tensor.sin: _plain(Sin),
    torch.cos: _plain(Cos), Tensor.cos: _plain(Cos),
    torch.square: _square, Tensor.square: _square,
    operator.pow: _power, torch.pow: _power, Tensor.pow: _power,
    torch.clamp: _clamp, Tensor.clamp: _clamp, torch.clip: _clamp, Tensor.clip: _clamp,
    torch.clamp_min: _clamp_min, Tensor.clamp_min: _clamp_min,
    torch.clamp_max: _clamp_max, Tensor.clamp_max: _clamp_max,
    torch.sum: _over(Sum), Tensor.sum: _over(Sum),
    torch.amax: _over(AMax), Tensor.amax: _over(AMax),
    torch.amin: _over(AMin), Tensor.amin: _over(AMin),
}  # fmt: skip

# Of these a module is taken as it is.
_MODULES = frozenset(
    {nn.Mish, nn.Softplus, nn.SELU, nn.CELU, nn.SiLU, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink, nn.Softshrink,
     nn.Hardshrink, Quotient, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.MaxPool1d,
     nn.MaxPool2d, nn.ReplicationPad1d, nn.ReplicationPad2d, nn.CircularPad1d, nn.CircularPad2d}
)  # fmt: skip
_POWERS = frozenset({operator.pow, torch.pow})


def function_of(graph_module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """A module that computes what `node` does, when that is a function of one tensor and constants; else None."""
    if len(node.all_input_nodes) != 1:
        return None
    called, module = callee(graph_module, node), submodule(graph_module, node)
    if isinstance(module, nn.Hardtanh) and not changes_in_place(graph_module, node):
        return Clamp(float(module.min_val), float(module.max_val))
    if called in _MODULES:
        is_plain = not changes_in_place(graph_module, node) and not getattr(module, "return_indices", False)
        return module if is_plain else None
    kwargs = dict(node.kwargs)
    value, settings = (node.args[0], node.args[1:]) if node.args else (kwargs.pop("input", None), ())
    if called is operator.truediv and is_scalar(value):
        return Quotient(_constant(value))
    if called in _POWERS and is_scalar(value) and len(settings) == 1:
        return Exponential(_constant(value))
    factory = _FACTORIES.get(called) if called is not None else None
    if factory is None or not isinstance(value, fx.Node):
        return None
    try:
        return factory(*settings, **kwargs)
    except TypeError:
        return None
