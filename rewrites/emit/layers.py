"""One of torch's layers as the call that makes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from rewrites.emit.text import Group, Slot, call, literal


class NotEmittable(ValueError):
    """What a file of its own cannot hold; the message is a sentence."""


def _has_bias(layer: nn.Module) -> bool:
    return getattr(layer, "bias", None) is not None


# Arguments of a layer's constructor that it does not keep under their names.
_READ: dict[str, Callable[[Any], Any]] = {
    "bias": _has_bias,
    "num_parameters": lambda layer: layer.weight.numel(),
    "device": lambda layer: None,
    "dtype": lambda layer: None,
}
_NONE = object()
# A tuple of equal numbers that a layer takes as one number, too.
_SIZES = frozenset({"kernel_size", "stride", "padding", "dilation", "output_padding"})


def _value(layer: nn.Module, name: str) -> Any:
    value = _READ[name](layer) if name in _READ else getattr(layer, name)
    if isinstance(value, torch.Size):
        value = tuple(value)
    if name in _SIZES and isinstance(value, tuple) and value and len(set(value)) == 1:
        value = value[0]
    if name == "normalized_shape" and isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, torch.Tensor):
        raise AttributeError(name)
    return value


def _settings(layer: nn.Module) -> list[tuple[str, Any, Any]]:
    """The arguments that make a layer like this one: name, value, and the default, which is `_NONE` for want of one."""
    found = []
    for name, parameter in inspect.signature(type(layer).__init__).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        try:
            value, default = _value(layer, name), parameter.default
        except AttributeError as error:
            if parameter.default is parameter.empty:
                raise NotEmittable(f"{type(layer).__name__} does not keep its {name}") from error
            continue  # what it keeps nothing of, as an alias of another argument
        if name in _SIZES and isinstance(default, tuple) and len(set(default)) == 1:
            default = default[0]
        if name == "stride" and default is None:  # a pooling's is its kernel's size unless given
            default = _value(layer, "kernel_size")
        found.append((name, value, _NONE if default is parameter.empty else default))
    return found


def made(layer: nn.Module, of: str) -> Group:
    """The call that makes a layer like this one, of other weights; its numbers are slots. `of` is what it is called.

    Raises `NotEmittable` for a layer that is not torch's, or does not say how it was made.
    """
    kind = type(layer)
    if getattr(nn, kind.__name__, None) is not kind:
        raise NotEmittable(f"{of}: {kind.__name__} is no layer of torch.nn")
    settings = _settings(layer)
    try:
        again = kind(**{name: value for name, value, default in settings if default is _NONE or value != default})
    except Exception as error:
        raise NotEmittable(f"{of}: {kind.__name__} cannot be made anew: {error}") from error
    if _settings(again) != settings or _shapes(again) != _shapes(layer):
        raise NotEmittable(f"{of}: {kind.__name__} does not say how it was made")
    items = []
    for name, value, default in settings:
        if default is _NONE:
            items.append(("", number(of, name, value)))
        elif isinstance(one := number(of, name, value, default), Slot) or value != default:
            items.append((name, one))
    return Group(f"nn.{kind.__name__}(", ")", tuple(items))


def number(of: str, setting: str, value: Any, default: Any = None) -> Slot | str:
    """A setting as it is written. Numbers are slots: blocks that are alike differ in these, not in words."""
    numbers = value if isinstance(value, tuple) else (value,)
    if all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in numbers):
        return Slot(of, setting, value, default=default)
    return literal(value)


def _shapes(layer: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in (*layer.named_parameters(), *layer.named_buffers())}


def parameter(tensor: torch.Tensor, of: str) -> Group:
    """The call that makes a parameter or buffer of this shape and type."""
    shape = Slot(of, "shape", tuple(tensor.shape))
    kind = {} if tensor.dtype is torch.float32 else {"dtype": str(tensor.dtype)}
    empty = call("torch.empty", shape, **kind)
    return call("nn.Parameter", empty) if isinstance(tensor, nn.Parameter) else empty
