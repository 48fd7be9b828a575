"""Dropout, StochasticDepth, Identity and casts to the type a value has vanish."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.values import callee, is_float32

_MODULES = frozenset(
    {
        nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    }
)  # fmt: skip
_FUNCTIONS: dict[Callable[..., Any], int] = {
    # the function, and where `training` stands among its positional arguments
    nn.functional.dropout: 2,
    nn.functional.dropout1d: 2,
    nn.functional.dropout2d: 2,
    nn.functional.dropout3d: 2,
    nn.functional.alpha_dropout: 2,
    nn.functional.feature_alpha_dropout: 2,
    torch.dropout: 2,
}


def _stochastic_depth() -> Callable[..., Any] | None:
    """torchvision's function, when that package is loaded; this library does not import it."""
    return getattr(sys.modules.get("torchvision.ops.stochastic_depth"), "stochastic_depth", None)


def _is_noop(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    target = callee(graph_module, node)
    if target in _MODULES:
        return True
    position = 3 if target is not None and target is _stochastic_depth() else _FUNCTIONS.get(target)  # type: ignore[arg-type]
    if position is None:
        return False
    training = node.args[position] if len(node.args) > position else node.kwargs.get("training", True)
    return training is False


_CASTS = frozenset({Tensor.float, Tensor.to, Tensor.type, Tensor.type_as, Tensor.cpu})
# What keeps a cast from being one to the type and device a value has, whatever those are.
_OTHERWISE = frozenset({"copy", "memory_format"})


def _casts_to_what_it_is(graph_module: fx.GraphModule, node: fx.Node, value: fx.Node) -> bool:
    """Whether a node casts what is float32 and on the CPU to just that."""
    if node.op != "call_method" or callee(graph_module, node) not in _CASTS:
        return False
    wanted = [*node.args[1:], *(one for key, one in node.kwargs.items() if key != "non_blocking")]
    if _OTHERWISE & node.kwargs.keys() or len(wanted) > 2:
        return False
    held = (*graph_module.parameters(), *graph_module.buffers())
    is_on_cpu = all(tensor.device.type == "cpu" for tensor in held)
    return is_on_cpu and is_float32(graph_module, value) and all(_is_that(graph_module, one) for one in wanted)


def _is_that(graph_module: fx.GraphModule, wanted: object) -> bool:
    """Whether an argument of a cast names float32, the CPU, or a tensor of that type."""
    if isinstance(wanted, fx.Node):
        of = wanted.args[0] if wanted.target is getattr else wanted
        is_asked = wanted.target is not getattr or wanted.args[1] in ("dtype", "device")
        return is_asked and isinstance(of, fx.Node) and is_float32(graph_module, of)
    if isinstance(wanted, str):
        return wanted in ("cpu", "torch.FloatTensor")
    return wanted is torch.float32 or (isinstance(wanted, torch.device) and wanted.type == "cpu")


class DropInferenceNoops(RewritePass):
    """Dropout, StochasticDepth, Identity and casts to the type a value has vanish.

    What it does: in eval mode these hand on their input, so whoever read them reads the input. So do `.float()`,
    `.to(torch.float32)`, `.to(x.dtype)`, `.type_as(x)`, `.to("cpu")` and `.cpu()` of what is float32 and on the CPU.

    Why: there is nothing to quantize in them, and standing between a convolution and its activation
    they keep the two from being fused. A cast has no quantized kernel.

    Leaves alone: a functional dropout whose `training` is not False when the model is traced; casts to another type or
    device, of what is not known to be float32, and those that ask for a copy.
    """

    name = "drop-inference-noops"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            value = node.args[0] if node.args else node.kwargs.get("input")
            if isinstance(value, fx.Node) and _is_noop(editor.graph_module, node):
                editor.remove(node, value, "does nothing in eval mode")
            elif isinstance(value, fx.Node) and _casts_to_what_it_is(editor.graph_module, node, value):
                editor.remove(node, value, "it is float32 already")

    @staticmethod
    def example() -> nn.Module:
        class Head(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(8, 8, 1)
                self.dropout = nn.Dropout(0.2)

            def forward(self, x: Tensor) -> Tensor:
                return self.dropout(self.conv(x))

        return Head()
