"""F.conv2d(x, self.weight, self.bias)  ->  a convolution module with that weight and bias."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.values import attribute, callee, is_inside_a_call, module_scope

_KINDS: dict[Any, Any] = {torch.conv1d: nn.Conv1d, torch.conv2d: nn.Conv2d, torch.conv3d: nn.Conv3d}


def _bound(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
) -> tuple[Any, Any, Any, dict[str, Any]]:
    """The arguments of a functional convolution, as its signature binds them."""
    return input, weight, bias, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def _parameter(graph_module: fx.GraphModule, value: Any, what: str) -> nn.Parameter | None:
    """The parameter `value` reads; None for no bias. Raises `Refusal` for anything else."""
    if value is None:
        return None
    held = attribute(graph_module, str(value.target)) if isinstance(value, fx.Node) and value.op == "get_attr" else None
    if not isinstance(held, nn.Parameter):
        raise Refusal(f"its {what} is computed when the model runs; a module's is a parameter")
    return held


def _holder(graph_module: fx.GraphModule, call: fx.Node, weight: fx.Node, bias: fx.Node | None) -> str:
    """Path of a module that is nothing but this convolution, as a subclass of a layer is; "" when there is none."""
    path = str(weight.target).rpartition(".")[0]
    if any(module_scope(node) == path and node not in (call, weight, bias) for node in graph_module.graph.nodes):
        return ""  # its forward does more than that
    named = {"weight": str(weight.target)} | ({"bias": str(bias.target)} if bias is not None else {})
    holder = graph_module.get_submodule(path)
    held = {name for name, _ in holder.named_parameters()} | {name for name, _ in holder.named_buffers()}
    alone = type(holder) is nn.Module and held == set(named) and not list(holder.children())
    return path if alone and all(target == f"{path}.{name}" for name, target in named.items()) else ""


class FunctionalConvolution(RewritePass):
    """A functional convolution with a weight of the model becomes a module.

    What it does: `F.conv1d`, `F.conv2d` and `F.conv3d` on a parameter, which is also what a subclass of `nn.Conv2d`
    that inherits its forward looks like in the graph, become an `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d` with the same
    weight and bias.

    Why: observers, fusion and int8 weights belong to modules; a functional convolution would run in float.

    Leaves alone: a weight that is computed when the model runs, or that something else reads as well.
    """

    name = "functional-convolution"

    def run(self, editor: Editor) -> None:
        for node in editor.nodes():
            if node.op != "call_function" or callee(editor.graph_module, node) not in _KINDS:
                continue
            try:
                self._replace(editor, node)
            except Refusal as refusal:
                editor.skip(node, str(refusal))

    @staticmethod
    def _replace(editor: Editor, node: fx.Node) -> None:
        graph_module = editor.graph_module
        video, weight_node, bias_node, settings = _bound(*node.args, **node.kwargs)
        weight = _parameter(graph_module, weight_node, "weight")
        bias = _parameter(graph_module, bias_node, "bias")
        if weight is None or not isinstance(video, fx.Node) or any(isinstance(v, fx.Node) for v in settings.values()):
            raise Refusal("its settings are computed when the model runs; a module's are fixed")
        for read in (weight_node, bias_node):
            if read is not None and (len(read.users) > 1 or is_inside_a_call(graph_module, str(read.target))):
                raise Refusal(f"{read.target} is also read elsewhere")
        out_channels, channels, *kernel = weight.shape
        made = _KINDS[node.target](
            channels * settings["groups"], out_channels, tuple(kernel), **settings, bias=False, device="meta"
        )
        made.weight, made.bias = weight, bias
        path = _holder(graph_module, node, weight_node, bias_node)
        reason = "observers, fusion and int8 weights belong to modules"
        editor.replace_with_module(node, made, (video,), "conv", reason, path)
        for read in (weight_node, bias_node):
            if read is not None:
                editor.erase(read, "the module holds it")
                if not path:
                    editor.forget(str(read.target))

    @staticmethod
    def example() -> nn.Module:
        class Functional(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3))

            def forward(self, x: Tensor) -> Tensor:
                return F.conv2d(x, self.kernel, padding=1)

        return Functional()
