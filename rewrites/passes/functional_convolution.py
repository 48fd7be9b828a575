"""F.conv2d(x, self.weight, self.bias)  ->  a convolution module with that weight and bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.passes._layers import check_type, make_layers

_CONVOLUTIONS: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: tuple[Any, ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def _sizes(given: Any, dims: int) -> Any:
    """A setting as a layer takes it: the functions take one number in a list for all dimensions, too."""
    if isinstance(given, (tuple, list)) and len(given) == 1:
        return given[0]
    return tuple(given) if isinstance(given, (tuple, list)) and len(given) == dims else given


def _check_weight(weight: Tensor | None, dims: int) -> Tensor:
    if weight is None or weight.ndim != dims + 2:
        raise Refusal(f"its weight does not have the {dims + 2} dimensions of a {dims}-D convolution's")
    check_type(weight)
    return weight


def _plain(dims: int) -> Callable[..., nn.Module]:
    def build(
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> nn.Module:
        out_channels, channels, *kernel = _check_weight(weight, dims).shape
        stride, padding, dilation = (_sizes(one, dims) for one in (stride, padding, dilation))
        return _CONVOLUTIONS[dims - 1](
            channels * groups, out_channels, tuple(kernel), stride, padding, dilation, groups, bias=False, device="meta"
        )

    return build


def _transposed(dims: int) -> Callable[..., nn.Module]:
    def build(
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> nn.Module:
        in_channels, channels, *kernel = _check_weight(weight, dims).shape
        stride, padding, output_padding, dilation = (
            _sizes(one, dims) for one in (stride, padding, output_padding, dilation)
        )
        return _TRANSPOSED[dims - 1](
            in_channels, channels * groups, tuple(kernel), stride, padding, output_padding, groups, False, dilation,
            device="meta",
        )  # fmt: skip

    return build


def _either(
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> nn.Module:
    dims = weight.ndim - 2
    if not 1 <= dims <= len(_CONVOLUTIONS):
        raise Refusal(f"there is no layer that convolves in {dims} dimensions")
    if transposed:
        return _transposed(dims)(weight, bias, stride, padding, output_padding, groups, dilation)
    return _plain(dims)(weight, bias, stride, padding, dilation, groups)


FACTORIES: dict[Callable[..., Any], Callable[..., nn.Module]] = {
    torch.conv1d: _plain(1),
    torch.conv2d: _plain(2),
    torch.conv3d: _plain(3),
    torch.conv_transpose1d: _transposed(1),
    torch.conv_transpose2d: _transposed(2),
    torch.conv_transpose3d: _transposed(3),
    torch.convolution: _either,
}


def _stem(weight: str, kind: type[nn.Module]) -> str:
    return "conv"


class FunctionalConvolution(RewritePass):
    """A functional convolution with a weight of the model becomes a module.

    What it does: `F.conv1d`, `F.conv2d`, `F.conv3d` and their transposed kin become the layer with the same weight and
    bias, when these are parameters or buffers. That is also what a subclass of `nn.Conv2d` that inherits its forward
    looks like in the graph, and a weight that is computed from parameters alone (standardized, masked, sliced): it is
    a constant by now. Calls with the same weight, bias and settings call one module; with others each module holds the
    shared weight.

    Why: observers, fusion and int8 weights belong to modules; a functional convolution would run in float.

    Leaves alone: a weight that is computed from the input, or of what the forward changes.
    """

    name = "functional-convolution"

    def run(self, editor: Editor) -> None:
        make_layers(editor, FACTORIES, "observers, fusion and int8 weights belong to modules", _stem)

    @staticmethod
    def example() -> nn.Module:
        class Functional(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3))

            def forward(self, x: Tensor) -> Tensor:
                return F.conv2d(x, self.kernel, padding=1)

        return Functional()
