"""Dropout, StochasticDepth and Identity vanish."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.values import callee

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


class DropInferenceNoops(RewritePass):
    """Dropout, StochasticDepth and Identity vanish.

    What it does: in eval mode these hand on their input, so whoever read them reads the input.

    Why: there is nothing to quantize in them, and standing between a convolution and its activation
    they keep the two from being fused.

    Leaves alone: a functional dropout whose `training` is not False when the model is traced.
    """

    name = "drop-inference-noops"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if not _is_noop(editor.graph_module, node):
                continue
            value = node.args[0] if node.args else node.kwargs.get("input")
            if isinstance(value, fx.Node):
                editor.remove(node, value, "does nothing in eval mode")

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
