"""conv, bn, linear or add + ReLU6  ->  an activation that clamps in float and is a range capped at 6 in int8."""

from __future__ import annotations

from torch import Tensor, fx, nn

from rewrites.base import Refusal, RewritePass
from rewrites.edits import Editor
from rewrites.fusion import fusable_nodes
from rewrites.memory import changes_between, changes_in_place
from rewrites.modules import Add, AddReLU, CappedReLU
from rewrites.readers import sole_reader
from rewrites.values import callee, calls_of, submodule

# What torch.ao can fuse with a ReLU in eval mode; a batch norm alone also has a fused form.
_FUSABLE = frozenset({nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm3d})


def _cap(graph_module: fx.GraphModule, node: fx.Node) -> float | None:
    """The upper bound of a clamp between 0 and a positive number; None for any other node."""
    module = submodule(graph_module, node)
    if isinstance(module, nn.Hardtanh) and type(module) in (nn.ReLU6, nn.Hardtanh):
        return float(module.max_val) if module.min_val == 0 and module.max_val > 0 else None
    return None


def _producer(graph_module: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The node whose output range can do the clamping; refuses when there is none."""
    producer = node.args[0] if node.args else node.kwargs["input"]
    assert isinstance(producer, fx.Node)
    kind = callee(graph_module, producer)
    known = kind in _FUSABLE or kind is Add
    if kind is nn.BatchNorm1d:  # alone it has no fused form
        known = any(producer in chain for chain in fusable_nodes(graph_module))
    if not known:
        raise Refusal(
            "it does not follow a convolution, batch norm, linear layer or addition whose range could be capped"
        )
    if sole_reader(producer) is not node:
        raise Refusal(f"{producer.name} is also read without the clamp, so its range cannot be capped")
    if changes_in_place(graph_module, node) or changes_between(graph_module, producer, node):
        raise Refusal(f"something is changed in place between {producer.name} and it, so the two stay apart")
    if (calls := len(calls_of(graph_module, producer))) > 1:
        raise Refusal(f"{producer.target} is called {calls} times and is not fused")
    return producer


class FoldReLU6(RewritePass):
    """ReLU6 behind a convolution, batch norm, linear layer or addition becomes a capped range.

    What it does: `nn.ReLU6`, `Hardtanh(0, 6)` and what functional-to-module made of `F.relu6` and
    `clamp(0, 6)` become an activation that still clamps in float and while calibrating, and that fuses
    like a ReLU. At conversion the clamp disappears: the output range is [0, min(6, largest value seen)]
    and saturation does the clamping, for nothing.

    Why: the engine's quantized clamp returns scrambled values on channels_last tensors, which is what
    its convolutions hand on. Every ReLU6 network converted with it is destroyed without an error.
    Replacing ReLU6 by ReLU without the cap is not exact.

    Leaves alone: a ReLU6 behind anything else, or whose producer is read elsewhere; it runs in float, with the reason.
    """

    name = "fold-relu6"

    def run(self, editor: Editor) -> None:
        graph_module = editor.graph_module
        for node in editor.nodes():
            cap = _cap(graph_module, node)
            if cap is None:
                continue
            try:
                producer = _producer(graph_module, node)
            except Refusal as refusal:
                editor.skip(node, str(refusal))
                continue
            if callee(graph_module, producer) is Add:
                reason = f"the sum's range is capped at {cap:g}; no int8 clamp runs"
                editor.replace_with_module(node, AddReLU(cap), producer.args, "add_relu", reason)
                editor.merge(producer, node, "its sum is taken inside add_relu")
            else:
                editor.replace_module(node, CappedReLU(cap), f"the range is capped at {cap:g}; no int8 clamp runs")

    @staticmethod
    def example() -> nn.Module:
        class ConvReLU6(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.bn, self.act = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU6()

            def forward(self, x: Tensor) -> Tensor:
                return self.act(self.bn(self.conv(x)))

        return ConvReLU6()
