"""F.relu(x), x.clamp(0, 6), F.adaptive_avg_pool2d(x, 1)  ->  modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.memory import changes_in_place
from rewrites.naming import snake_case
from rewrites.values import callee, is_scalar, is_tensor

# Each factory has the signature of the functions it stands for (without the input), so that Python
# itself binds positional, keyword and default arguments; it returns the module or refuses.


def _relu(inplace: bool = False) -> nn.Module:
    return nn.ReLU()


def _relu6(inplace: bool = False) -> nn.Module:
    return nn.ReLU6()


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> nn.Module:
    if min_val >= max_val:
        raise Refusal("a hardtanh whose bounds leave no range has no module")
    return nn.ReLU6() if (min_val, max_val) == (0, 6) else nn.Hardtanh(min_val, max_val)


def _clamp(min: float | None = None, max: float | None = None) -> nn.Module:
    if max is None and is_scalar(min) and min == 0:
        return nn.ReLU()
    if not is_scalar(min) or not is_scalar(max) or min >= max:  # type: ignore[operator]
        raise Refusal("a clamp becomes a module only between two constant bounds, or with min=0 alone")
    return _hardtanh(float(min), float(max))  # type: ignore[arg-type]


def _leaky_relu(negative_slope: float = 0.01, inplace: bool = False) -> nn.Module:
    return nn.LeakyReLU(negative_slope)


def _elu(alpha: float = 1.0, inplace: bool = False) -> nn.Module:
    return nn.ELU(alpha)


def _gelu(approximate: str = "none") -> nn.Module:
    return nn.GELU(approximate)


def _softmax(dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> nn.Module:
    if dim is None or dtype is not None:
        raise Refusal("a softmax becomes a module only with a given dim and no dtype")
    return nn.Softmax(dim)


def _softmax_method(dim: int, dtype: torch.dtype | None = None) -> nn.Module:
    return _softmax(dim, dtype=dtype)


def _max_pool(kind: type[nn.MaxPool2d] | type[nn.MaxPool3d], word: str) -> Callable[..., nn.Module]:
    def build(
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> nn.Module:
        if return_indices:
            raise Refusal(f"{word} with return_indices has no int8 kernel")
        return kind(kernel_size, stride or None, padding, dilation, ceil_mode=ceil_mode)

    return build


def _avg_pool2d(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> nn.Module:
    return nn.AvgPool2d(kernel_size, stride or None, padding, ceil_mode, count_include_pad, divisor_override)


def _avg_pool3d(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> nn.Module:
    return nn.AvgPool3d(kernel_size, stride or None, padding, ceil_mode, count_include_pad, divisor_override)


def _no_arguments(module: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(inplace: bool = False) -> nn.Module:
        return module()

    return build


FACTORIES: dict[Callable[..., Any], Callable[..., nn.Module]] = {
    F.relu: _relu, torch.relu: _relu, Tensor.relu: _relu,
    F.relu6: _relu6,
    F.hardtanh: _hardtanh,
    torch.clamp: _clamp, Tensor.clamp: _clamp, torch.clip: _clamp, Tensor.clip: _clamp,
    F.hardswish: _no_arguments(nn.Hardswish),
    F.hardsigmoid: _no_arguments(nn.Hardsigmoid),
    F.silu: _no_arguments(nn.SiLU),
    F.sigmoid: _no_arguments(nn.Sigmoid), torch.sigmoid: _no_arguments(nn.Sigmoid),
    Tensor.sigmoid: _no_arguments(nn.Sigmoid),
    F.tanh: _no_arguments(nn.Tanh), torch.tanh: _no_arguments(nn.Tanh), Tensor.tanh: _no_arguments(nn.Tanh),
    F.leaky_relu: _leaky_relu,
    F.elu: _elu,
    F.gelu: _gelu,
    F.softmax: _softmax, torch.softmax: _softmax_method, Tensor.softmax: _softmax_method,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.max_pool2d: _max_pool(nn.MaxPool2d, "max_pool2d"),
    F.avg_pool2d: _avg_pool2d,
    F.adaptive_avg_pool3d: nn.AdaptiveAvgPool3d,
    F.max_pool3d: _max_pool(nn.MaxPool3d, "max_pool3d"),
    F.avg_pool3d: _avg_pool3d,
}  # fmt: skip


def _decide(graph_module: fx.GraphModule, node: fx.Node) -> tuple[nn.Module, fx.Node] | None:
    """The module that says what `node` does, and the tensor it takes; None when no factory knows it."""
    target = callee(graph_module, node)
    factory = FACTORIES.get(target) if target is not None and not isinstance(target, type) else None
    if factory is None or node.op == "call_module":
        return None
    if changes_in_place(graph_module, node):
        raise Refusal("it changes its input in place; the module would not")
    kwargs = dict(node.kwargs)
    value, settings = (node.args[0], node.args[1:]) if node.args else (kwargs.pop("input", None), ())
    if not isinstance(value, fx.Node) or not is_tensor(graph_module, value):
        raise Refusal("its input is not a tensor of this graph")
    if any(isinstance(n, fx.Node) and n is not value for n in node.all_input_nodes):
        raise Refusal("its settings are computed when the model runs; a module's are fixed")
    try:
        return factory(*settings, **kwargs), value
    except TypeError as error:
        raise Refusal(f"its arguments are not those of the module: {error}") from error


class FunctionalToModule(RewritePass):
    """Functional activations and pools become modules.

    What it does: `F.relu`, `torch.sigmoid`, `x.clamp(0, 6)`, `F.hardswish`, `F.adaptive_avg_pool2d` and their
    kin, written as functions or as methods, become the module that computes the same.

    Why: `fuse_modules` and the observers see modules only; a functional ReLU behind a convolution can
    be neither fused nor given a range.

    Leaves alone: calls whose settings are computed when the model runs, a softmax without a dim, a clamp with one
    bound other than 0, a max-pool that returns indices.
    """

    name = "functional-to-module"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            try:
                decided = _decide(editor.graph_module, node)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            if decided is not None:
                module, value = decided
                stem = snake_case(getattr(node.target, "__name__", str(node.target)))
                editor.replace_with_module(node, module, (value,), stem, "fusion and observers see modules only")

    @staticmethod
    def example() -> nn.Module:
        class Functional(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(8, 8, 1)

            def forward(self, x: Tensor) -> Tensor:
                return F.adaptive_avg_pool2d(F.relu(self.conv(x)), 1)

        return Functional()
