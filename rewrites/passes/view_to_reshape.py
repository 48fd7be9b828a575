"""x.view(shape)  ->  x.reshape(shape)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rewrites.base import RewritePass
from rewrites.edits import Editor
from rewrites.values import callee


class ViewToReshape(RewritePass):
    """`x.view(shape)` becomes `x.reshape(shape)`, which takes any memory layout.

    What it does: wherever a view is possible, a reshape is that same view.

    Why: int8 convolutions hand on channels_last tensors, and there `x.view(x.size(0), -1)` in front of a classifier
    stops the model ("view size is not compatible with input tensor's size and stride"), though it ran in float.

    Leaves alone: `x.view(dtype)`, which reads the same bytes as another type.
    """

    name = "view-to-reshape"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if callee(editor.graph_module, node) is not Tensor.view:
                continue
            if any(isinstance(argument, torch.dtype) for argument in (*node.args, *node.kwargs.values())):
                editor.skip(node, "it reads the bytes as another type, which no reshape does")
                continue
            kwargs = {"shape" if key == "size" else key: value for key, value in node.kwargs.items()}
            reason = "int8 convolutions hand on channels_last, of which not every view exists"
            editor.retarget(node, "call_method", "reshape", node.args, kwargs, reason)

    @staticmethod
    def example() -> nn.Module:
        class Flat(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.view(x.size(0), -1)

        return Flat()
