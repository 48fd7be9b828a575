"""Modules that show a row of the kernel table: functions, and layers that take more than tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Call(nn.Module):
    """A function as a module, called with these arguments after its tensors."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.function, self.args, self.kwargs = function, args, kwargs

    def forward(self, *tensors: Any) -> Any:
        return self.function(*tensors, *self.args, **self.kwargs)


def interpolating(mode: str) -> Callable[[], nn.Module]:
    """An example of F.interpolate, to twice the size."""
    return lambda: Call(F.interpolate, scale_factor=2, mode=mode)


def weighing(function: Callable[..., Any], *shape: int) -> Callable[[], nn.Module]:
    """An example of a function that takes a weight of this shape."""
    return lambda: Call(function, torch.randn(shape, generator=torch.Generator().manual_seed(0)))


def where(x: Tensor, y: Tensor) -> Tensor:
    """Half of the columns of either."""
    return torch.where(torch.arange(12) > 5, x, y)


def einsum(x: Tensor, y: Tensor) -> Tensor:
    """A product of two images, channel by channel."""
    return torch.einsum("bchw,bdhw->bcd", x, y)


def slice_scatter(x: Tensor, y: Tensor) -> Tensor:
    """Every other column of one image written into another."""
    return torch.slice_scatter(x, y[..., ::2], -1, 0, None, 2)


def masked_fill(x: Tensor) -> Tensor:
    """Half of the columns set to a number far out."""
    return x.masked_fill(torch.arange(12) > 5, 100.0)


def index_put(x: Tensor, y: Tensor) -> Tensor:
    """Two channels of one image written into another."""
    put: Tensor = torch.ops.aten.index_put(x, [None, torch.tensor([1, 3])], y[:, :2])
    return put


class OfList(nn.Module):
    """A module that takes a list, called with the tensors of the list."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.inner([x, y])


class Sized(nn.Module):
    """A module that takes a size beside its tensor."""

    def __init__(self, inner: nn.Module, size: int) -> None:
        super().__init__()
        self.inner, self.size = inner, size

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, self.size)


class ShapedAlike(nn.Module):
    """A method that gives a tensor the shape of another, here that of four of its kind side by side."""

    def __init__(self, method: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        other = x.repeat(1, 4, 1, 1)
        return self.method(x, other) if self.method is Tensor.expand_as else self.method(other, x.expand_as(other))


class Stacked(nn.Module):
    """torch.stack as a module on two tensors."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([x, y], 1)
