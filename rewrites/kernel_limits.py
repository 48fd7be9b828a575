"""What a kernel of the qnnpack engine refuses of one layer or call, although it takes others of its kind.

Each function holds one condition. It gives None when the condition is met, and else the reason of the refusal. Those of
a module read its settings, those of a node the arguments of the call.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import fx, nn


def zeros_padding(module: nn.Module) -> str | None:
    """Convolutions pad with zeros, and by numbers."""
    mode = getattr(module, "padding_mode", "zeros")
    if mode != "zeros":
        return f"quantized convolutions pad with zeros only, not {mode!r}"
    padding = getattr(module, "padding", 0)
    return f"quantized convolutions take padding in numbers, not {padding!r}" if isinstance(padding, str) else None


def statistics(module: nn.Module) -> str | None:
    """A batch norm has running statistics."""
    return None if module.running_mean is not None else "it keeps no running statistics, which its kernel needs"


def own_statistics(module: nn.Module) -> str | None:
    """An instance norm has no running statistics: each image is normalized by its own."""
    if getattr(module, "running_mean", None) is not None:
        return "its kernel ignores running statistics"
    return None


def _window(module: nn.Module) -> str | None:
    """Why a pool of any kind is refused for the windows it slides."""
    kernel = module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,)
    if all(size == 1 for size in kernel):
        return "its kernel refuses windows of a single value"
    if isinstance(module, (nn.MaxPool1d, nn.AvgPool1d)) and module.ceil_mode:
        return "its kernel computes a ceil_mode wrong on what was a channels_last image before it was flattened"
    return None


def undilated(module: nn.Module) -> str | None:
    """The values a max pool looks at lie side by side."""
    if module.dilation not in (1, (1,), (1, 1)):
        return "its kernel computes dilated pooling wrong"
    return _window(module)


def plain_average(module: nn.Module) -> str | None:
    """An average is over all values of the window, the padding's included, and divided by their number."""
    if getattr(module, "divisor_override", None) is not None:
        return "its kernel ignores divisor_override"
    if not module.count_include_pad and module.padding not in (0, (0, 0), (0,)):
        return "its kernel ignores count_include_pad=False"
    return _window(module)


def called_alone(node: fx.Node) -> str | None:
    """A transposed convolution is called with its input alone."""
    if len(node.args) + len(node.kwargs) > 1:
        return "the int8 layer takes no output_size"
    return None


_MODES = ("nearest", "nearest-exact", "bilinear", "area")


def upsample_mode(module: nn.Module) -> str | None:
    """A layer interpolates in one of the modes that there are quantized kernels for."""
    return None if module.mode in _MODES else f"no quantized kernel interpolates in mode {module.mode!r}"


def interpolation(node: fx.Node) -> str | None:
    """A call interpolates an image in one of the modes that there are quantized kernels for."""
    settings = _settings(node)
    if settings["antialias"]:
        return "no quantized kernel interpolates with antialias"
    if settings["mode"] not in _MODES:
        return f"no quantized kernel interpolates in mode {settings['mode']!r}"
    return not_of_tokens(node)


# What may group the values of tokens [N, L, C] as an image [N, C, H, W], in memory as they lie.
_GROUPING = frozenset({"reshape", "reshape_as", "view", "view_as", "unflatten"})


def not_of_tokens(node: fx.Node) -> str | None:
    """An image that is enlarged was not grouped of tokens just before.

    Of one image torch leaves the outermost stride as it was among the tokens; the kernels take the layout from the
    strides in two ways then, and scramble what they read.
    """
    value = node.args[0] if node.args else node.kwargs.get("input")
    while isinstance(value, fx.Node) and value.target in ("permute", "transpose", torch.permute, torch.transpose):
        value = value.args[0]
    name = getattr(value, "target", None)
    if isinstance(value, fx.Node) and (name in _GROUPING or getattr(name, "__name__", None) in _GROUPING):
        return "its kernel scrambles one image that was made of tokens by reshape; behind a copy it does not"
    return None


def _settings(node: fx.Node) -> dict[str, Any]:
    """The arguments of a call of a Python function, by name, with its defaults."""
    assert callable(node.target)
    bound = inspect.signature(node.target).bind(*node.args, **node.kwargs)
    bound.apply_defaults()
    return bound.arguments


def zeros_or_reflect(node: fx.Node) -> str | None:
    """A call of F.pad pads with zeros or by reflection."""
    arguments = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)) | dict(node.kwargs)
    mode, value = arguments.get("mode", "constant"), arguments.get("value")
    if mode == "constant":
        return None if value in (None, 0) else "a padding value other than 0 may lie outside of the range"
    return None if mode == "reflect" else f"no quantized kernel pads in mode {mode!r}"


def with_zeros(module: nn.Module) -> str | None:
    """A layer puts in zeros."""
    return None if module.value == 0 else "a value other than 0 may lie outside of the range"


def divides_by_its_size(module: nn.Module) -> str | None:
    """A video's average is divided by the number of values in the window."""
    return "its kernel ignores divisor_override" if module.divisor_override is not None else None
